"""Classify images on a Triton server: ``Classifier``, its asyncio twin, and their errors.

This is the whole public surface. The package needs numpy, tritonclient[grpc] and typer, and imports none of
them before it is used.
"""

from ._async_classifier import AsyncClassifier
from ._classifier import Classifier
from ._errors import (
    AlexNetClientError,
    Cancelled,
    DeadlineExceeded,
    InvalidImage,
    InvalidSetting,
    ModelNotFound,
    ModelNotReady,
    ProtocolMismatch,
    ServerFault,
    ServerOverloaded,
    ServerUnreachable,
    TLSFailed,
    Unauthorized,
)
from ._predictions import EmbeddingResult, Prediction, Result
from ._status import ModelStatus, ModelWork, ServerStatus
from ._tls import TLS

__all__ = [
    "TLS",
    "AlexNetClientError",
    "AsyncClassifier",
    "Cancelled",
    "Classifier",
    "DeadlineExceeded",
    "EmbeddingResult",
    "InvalidImage",
    "InvalidSetting",
    "ModelNotFound",
    "ModelNotReady",
    "ModelStatus",
    "ModelWork",
    "Prediction",
    "ProtocolMismatch",
    "Result",
    "ServerFault",
    "ServerOverloaded",
    "ServerStatus",
    "ServerUnreachable",
    "TLSFailed",
    "Unauthorized",
]
