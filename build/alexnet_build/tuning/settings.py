"""The settings of the models' configs that do not change an answer, only how fast it comes.

In: a ``Tuning``. Out: the same in Triton's ModelConfig, and back. ``configs`` renders a repository with it, ``live``
a candidate for a running server; both through ``apply_tuning``, so that what was measured is what is written.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Literal

from alexnet_build.tensors import ALEXNET, PREPROCESS

Engine = Literal["tensorrt", "onnxruntime"]

_DECODE_THREADS = "DECODE_THREADS"
_INTRA_OP_THREADS = "intra_op_thread_count"
#: On 16 cores, 16 processes of one thread decode 1.12 times what 8 of two do, and 1.30 times what 4 of four do. More
#: cores were not measured; each process takes about 25 MiB.
_MOST_PREPROCESS_INSTANCES = 16
#: On 16 cores with 32 images under way, 2 copies of eight threads compute 1.45 times what one of sixteen does in INT8,
#: 4 of four 1.54 times and 8 of two 1.39 times. FP32 moves more bytes and stays between 0.94 and 1.09 times. On 2
#: cores, 2 copies of one thread do 1.10 times what one of two does in INT8 and 1.05 times in FP32 (with OpenVINO 1.11
#: times in INT8 beside other work, no difference on a quiet machine): where a thread loses its core, no other one waits
#: for it.
_CORES_A_COPY = 4
_FEWEST_COPIES, _MOST_COPIES = 2, 4


@dataclass(frozen=True)
class Tuning:
    """What ``alexnet-build tune`` searches.

    The defaults are those of a GPU's repository, the same on every machine; ``default_tuning`` knows a CPU's.

    Attributes:
        preprocess_instances: Processes that decode photographs.
        decode_threads: Threads of each of them; None: its share of the cores.
        preprocess_batch_sizes: Preferred batch sizes of ``preprocess``; none: as many requests as wait.
        alexnet_instances: Copies of the network that run at once, on each GPU or on the CPU.
        intra_op_threads: Threads of each, ONNX Runtime only; 0: its share of the cores.
        alexnet_batch_sizes: Preferred batch sizes of ``alexnet``; none: as many requests as wait.
        max_queue_delay_us: Microseconds that ``alexnet`` waits for a preferred batch. 0, because requests that wait
            while a batch runs are the next batch.
        cuda_graphs: Triton's TensorRT backend replays recorded graphs; only where ``graphs`` has seen right answers.
    """

    preprocess_instances: int = 2
    decode_threads: int | None = None
    preprocess_batch_sizes: tuple[int, ...] = ()
    alexnet_instances: int = 1
    intra_op_threads: int = 0
    alexnet_batch_sizes: tuple[int, ...] = ()
    max_queue_delay_us: int = 0
    cuda_graphs: bool = False


def default_tuning(engine: Engine, cores: int | None = None, *, decodes_on_gpu: bool = False) -> Tuning:
    """The settings of a repository that was not tuned.

    Args:
        engine: What runs the network. TensorRT does so on a GPU, and leaves the cores to decoding.
        cores: Of the machine that serves; None: those of this one for ONNX Runtime. Those of a GPU's machine are
            unknown where its repository is rendered, which is the same files everywhere.
        decodes_on_gpu: Whether photographs may be decoded on a GPU, where each process takes memory.
    """
    if cores is None and engine == "onnxruntime":
        cores = len(os.sched_getaffinity(0))
    if cores is None:
        return Tuning()
    processes = Tuning.preprocess_instances if decodes_on_gpu else min(cores, _MOST_PREPROCESS_INSTANCES)
    if engine == "tensorrt":
        return Tuning(preprocess_instances=processes)
    copies = min(cores, max(_FEWEST_COPIES, min(cores // _CORES_A_COPY, _MOST_COPIES)))
    return Tuning(preprocess_instances=processes, alexnet_instances=copies)


#: How a setting is called in tables and in tuning.json.
NAMES = {
    "preprocess_instances": "preprocess.instances",
    "decode_threads": "preprocess.DECODE_THREADS",
    "preprocess_batch_sizes": "preprocess.preferred_batch_size",
    "alexnet_instances": "alexnet.instances",
    "intra_op_threads": "alexnet.intra_op_thread_count",
    "alexnet_batch_sizes": "alexnet.preferred_batch_size",
    "max_queue_delay_us": "alexnet.max_queue_delay_microseconds",
    "cuda_graphs": "alexnet.cuda_graphs",
}


#: The settings that the search goes through, by that name; CUDA graphs have a test of their own.
SEARCHED = {name: field for field, name in NAMES.items() if field != "cuda_graphs"}


def apply_tuning(config: Any, tuning: Tuning) -> None:
    """Set a model's part of a tuning in its config; everything else in the config stays.

    Args:
        config: ``model_config_pb2.ModelConfig`` of ``preprocess`` or ``alexnet``, with an instance group; any other
            model's is left as it is.
        tuning: The settings.
    """
    if config.name == PREPROCESS:
        config.instance_group[0].count = tuning.preprocess_instances
        config.dynamic_batching.preferred_batch_size[:] = tuning.preprocess_batch_sizes
        if tuning.decode_threads is not None:
            config.parameters[_DECODE_THREADS].string_value = str(tuning.decode_threads)
        elif _DECODE_THREADS in config.parameters:
            del config.parameters[_DECODE_THREADS]
    elif config.name == ALEXNET:
        config.instance_group[0].count = tuning.alexnet_instances
        config.dynamic_batching.preferred_batch_size[:] = tuning.alexnet_batch_sizes
        config.dynamic_batching.max_queue_delay_microseconds = tuning.max_queue_delay_us
        if config.backend == "onnxruntime":
            config.parameters[_INTRA_OP_THREADS].string_value = str(tuning.intra_op_threads)
        if tuning.cuda_graphs:
            config.optimization.cuda.graphs = True
        elif config.optimization.cuda.graphs:
            config.optimization.ClearField("cuda")
            if not config.optimization.ListFields():
                config.ClearField("optimization")


def tuning_from_configs(preprocess: Any, alexnet: Any) -> Tuning:
    """The settings that two configs say, of files or of a server; ``apply_tuning`` the other way round."""
    threads = preprocess.parameters[_DECODE_THREADS].string_value if _DECODE_THREADS in preprocess.parameters else None
    intra_op = alexnet.parameters[_INTRA_OP_THREADS].string_value if _INTRA_OP_THREADS in alexnet.parameters else 0
    return Tuning(
        preprocess_instances=_instances(preprocess),
        decode_threads=None if threads is None else int(threads),
        preprocess_batch_sizes=tuple(preprocess.dynamic_batching.preferred_batch_size),
        alexnet_instances=_instances(alexnet),
        intra_op_threads=int(intra_op),
        alexnet_batch_sizes=tuple(alexnet.dynamic_batching.preferred_batch_size),
        max_queue_delay_us=alexnet.dynamic_batching.max_queue_delay_microseconds,
        cuda_graphs=alexnet.optimization.cuda.graphs,
    )


def _instances(config: Any) -> int:
    return (config.instance_group[0].count if config.instance_group else 0) or 1
