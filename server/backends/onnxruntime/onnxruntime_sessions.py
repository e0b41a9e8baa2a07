"""Sessions of a model file: one for batches, and one on all cores for an image that comes alone.

In: the file and Triton's config of the model. Out: ``Sessions``, whose ``run`` takes a batch. Called by model.py,
beside which it lies, once an instance, each of which is a process.

ONNX Runtime runs them, or OpenVINO where the config names it as the accelerator on the CPU: the same answers to within
rounding, sooner.

Instances that run at once have a share of the cores each: on many cores, several batches beside each other are done
sooner than one after the other on all threads. An image that comes alone would then leave the other cores idle. A
session keeps its number of threads for life, and a copy of the weights of its own, so there are two, at the price of
that memory; the config parameter ``lone_image_session`` with the value "0" leaves the second one out.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime

if TYPE_CHECKING:
    from openvino_session import OpenVinoSession

    Session = onnxruntime.InferenceSession | OpenVinoSession


class AcceleratorError(Exception):
    """What the config wants to run the network with is not here."""


class Sessions:
    """The sessions of one instance.

    Attributes:
        batches: the one for batches; its inputs and outputs are the model's.
        alone: the one on all cores; None where `batches` has all of them, or the config wants none.
    """

    def __init__(self, path: Path, config: dict) -> None:
        """Open a model file.

        Args:
            path: the ONNX file.
            config: Triton's config of the model, as the Python backend hands it over.

        Raises:
            AcceleratorError: the config's accelerator is unknown or not installed.
        """
        parameters = {name: value["string_value"] for name, value in config.get("parameters", {}).items()}
        instance_count = sum(int(group.get("count", 1)) for group in config.get("instance_group", [])) or 1
        cores = len(os.sched_getaffinity(0))
        threads = int(parameters.get("intra_op_thread_count", 0)) or max(1, cores // instance_count)
        wants_second = instance_count > 1 and threads < cores and parameters.get("lone_image_session") != "0"
        self.batches = open_session(path, config, parameters, threads)
        self.alone = open_session(path, config, parameters, cores) if wants_second else None
        self.model_file = path.open("rb")

    def run(self, output_names: list[str], feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        """Run a batch: arrays (N, ...) in, one for each output name out."""
        if self.alone is None:
            return self.batches.run(output_names, feeds)
        lone_image = all(array.shape[:1] == (1,) for array in feeds.values())
        with self.cores_locked(for_itself=lone_image) as for_itself:
            return (self.alone if for_itself else self.batches).run(output_names, feeds)

    @contextlib.contextmanager
    def cores_locked(self, *, for_itself: bool) -> Iterator[bool]:
        """Tell the model's other instances that this one runs; yield whether it has the cores for itself.

        Nobody waits. While another instance runs, an image is not alone, and threads on all cores would be in that
        one's way. The lock is the model file's, which every instance opens and which the kernel unlocks when a
        process dies; where the file system has no locks, nobody has the cores for itself.
        """
        has_cores = for_itself and self.lock(fcntl.LOCK_EX)
        locked = has_cores or self.lock(fcntl.LOCK_SH)
        try:
            yield has_cores
        finally:
            if locked:
                fcntl.flock(self.model_file, fcntl.LOCK_UN)

    def lock(self, kind: int) -> bool:
        """Lock the model file if that is possible at once."""
        try:
            fcntl.flock(self.model_file, kind | fcntl.LOCK_NB)
        except OSError:
            return False
        return True


def open_session(path: Path, config: dict, parameters: dict[str, str], threads: int) -> Session:
    """Open a model file on so many threads; everything else is as the config says."""
    for accelerator in accelerators(config):
        if accelerator != "openvino":
            raise AcceleratorError(f'config.pbtxt: cpu_execution_accelerator is "{accelerator}", expected "openvino"')
        try:
            from openvino_session import OpenVinoSession
        except ImportError as error:
            raise AcceleratorError(
                f"config.pbtxt: cpu_execution_accelerator openvino is not installed here ({error}); next: "
                f"{sys.executable} -m pip install openvino, or take it out of the config"
            ) from error
        return OpenVinoSession(path, threads)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = int(parameters.get("inter_op_thread_count", 0))
    if parameters.get("execution_mode") == "1":
        options.execution_mode = onnxruntime.ExecutionMode.ORT_PARALLEL
    if config.get("optimization", {}).get("graph", {}).get("level", 0) < 0:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    # Idle threads that spin keep cores from the preprocessing instances, other processes on the same machine:
    # on two cores, single requests and 32 concurrent ones were both slower with it.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def accelerators(config: dict) -> list[str]:
    """Return the names of what the config wants to run the network on the CPU, ONNX Runtime itself apart."""
    wanted = config.get("optimization", {}).get("execution_accelerators", {})
    return [accelerator["name"] for accelerator in wanted.get("cpu_execution_accelerator", [])]
