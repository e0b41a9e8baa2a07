"""The ensemble as the server describes it, compared with what this client relies on.

In: the model's metadata. Out: a ``Contract``, or a ``ProtocolMismatch`` that shows both sides.
Called by: the flows, once a client.
"""

from __future__ import annotations

from dataclasses import dataclass

from ._calls import ModelMetadata, TensorMetadata
from ._config import EMBEDDINGS, IMAGE, PROBABILITIES
from ._errors import ProtocolMismatch


@dataclass(frozen=True, slots=True)
class Contract:
    """What the client takes from the server.

    Attributes:
        class_count: Number of classes C of PROBABILITIES [N, C].
        versions: Versions of the ensemble that are being served.
        embedding_width: Number of features D of EMBEDDINGS [N, D]; None where there is no such output.
    """

    class_count: int
    versions: tuple[str, ...]
    embedding_width: int | None = None


def contract_from_metadata(metadata: ModelMetadata, *, url: str) -> Contract:
    """The contract, if the model is an ensemble IMAGE BYTES [N, 1] -> PROBABILITIES FP32 [N, C].

    Raises:
        ProtocolMismatch: It is something else; the message lists every difference.
    """
    expected = f"an ensemble with the input {IMAGE} BYTES [N, 1] and the output {PROBABILITIES} FP32 [N, C]"
    differences = []
    if metadata.platform != "ensemble":
        differences.append(f"its platform is {metadata.platform or 'unknown'}, not ensemble")
    if [(t.name, t.datatype, t.shape) for t in metadata.inputs] != [(IMAGE, "BYTES", (-1, 1))]:
        differences.append(f"its inputs are {_listed(metadata.inputs)}")
    output = next((t for t in metadata.outputs if t.name == PROBABILITIES), None)
    if output is None or output.datatype != "FP32" or len(output.shape) != 2 or output.shape[1] < 1:
        differences.append(f"its outputs are {_listed(metadata.outputs)}")
    if differences or output is None:
        raise ProtocolMismatch(
            f"the model {metadata.name!r} at {url} does not fit this client: {'; '.join(differences)}; "
            f"expected {expected}",
            url=url,
        )
    embeddings = next((t for t in metadata.outputs if t.name == EMBEDDINGS and t.datatype == "FP32"), None)
    width = embeddings.shape[1] if embeddings is not None and len(embeddings.shape) == 2 else None
    return Contract(class_count=output.shape[1], versions=metadata.versions, embedding_width=width)


def _listed(tensors: tuple[TensorMetadata, ...]) -> str:
    return (
        ", ".join(f"{t.name} {t.datatype} {['N' if n == -1 else n for n in t.shape]}" for t in tensors).replace("'", "")
        or "none"
    )
