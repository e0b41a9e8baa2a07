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
    Unauthorized,
)
from ._predictions import Prediction, Result
from ._status import ModelStatus, ServerStatus

__all__ = [
    "AlexNetClientError",
    "AsyncClassifier",
    "Cancelled",
    "Classifier",
    "DeadlineExceeded",
    "InvalidImage",
    "InvalidSetting",
    "ModelNotFound",
    "ModelNotReady",
    "ModelStatus",
    "Prediction",
    "ProtocolMismatch",
    "Result",
    "ServerFault",
    "ServerOverloaded",
    "ServerStatus",
    "ServerUnreachable",
    "Unauthorized",
]
