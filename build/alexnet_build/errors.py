"""Every error that this package raises on purpose.

::

    BuildError                    what failed, what was expected, the next command
    ├── MissingDependencyError    a library or a GPU that this step needs is not here
    ├── WeightsError              a weights file that cannot be read or does not fit a known network
    │   └── UntrustedWeightsError a weights file that would run code when loaded
    ├── DataError                 a folder of training images that cannot be used
    ├── TrainingError             a run that cannot go on; what it saved is whole
    ├── EngineError               ONNX export or TensorRT could not make the engine
    ├── ParityError               the engine does not agree with torch; nothing was published
    └── PublishError              the model repository could not be written
"""


class BuildError(Exception):
    """A step failed for a reason that its user can mend; the message says how."""


class MissingDependencyError(BuildError):
    """A library or a GPU that this step needs is not on this machine."""


class WeightsError(BuildError):
    """A weights file cannot be read, or its tensors fit no network known here."""


class UntrustedWeightsError(WeightsError):
    """Loading the weights file would run code that the file contains."""


class DataError(BuildError):
    """A folder of images cannot be used for training."""


class EngineError(BuildError):
    """The ONNX file or the engine could not be made."""


class ParityError(BuildError):
    """The engine's answers differ from torch's by more than its precision allows."""


class PublishError(BuildError):
    """The model repository could not be written; what was served before is untouched."""


class TrainingError(BuildError):
    """A run cannot go on: no room for a checkpoint, a loss that is not a number, an interruption."""
