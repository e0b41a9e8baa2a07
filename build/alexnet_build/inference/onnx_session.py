"""An ONNX file on the CPU, run by ONNX Runtime: the class ``OnnxSession``.

In: ``model.onnx`` with input ``PIXELS`` (N, S, S, 3) uint8 and output ``PROBABILITIES`` (N, C) float32; a second
output, ``EMBEDDINGS``, is left alone. Out: a ``Session``. ONNX Runtime's own sessions may be run from several threads,
so a pool of threads does for ``submit``.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import numpy as np

from alexnet_build.errors import EngineError
from alexnet_build.inference.session import Pending, Session
from alexnet_build.tensors import EMBEDDINGS, PIXELS, PROBABILITIES


class OnnxSession(Session):
    """ONNX Runtime on the CPU.

    Args:
        onnx_file: What ``alexnet-build onnx`` exported, or a repository's ``model.onnx``.
        threads: Threads that compute one batch together; None for one a core.
        workers: Batches of ``submit`` that are computed at the same time; each uses ``threads``. The others wait.
        max_batch: Largest batch of one run; it bounds the memory of a run.

    Raises:
        EngineError: ONNX Runtime cannot load the file, or its input and output are not the contract's.
    """

    def __init__(self, onnx_file: Path, *, threads: int | None = None, workers: int = 1, max_batch: int = 64) -> None:
        self._session = _loaded(onnx_file, threads)
        self.image_size, self.classes = _sizes(self._session, onnx_file)
        self.max_batch = max_batch
        self._source = str(onnx_file)
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="onnx-session")
        # Twice the workers: while one batch is computed, the next one lies ready.
        self._places = threading.Semaphore(2 * workers)
        self._closed = False

    def infer(self, pixels: np.ndarray) -> np.ndarray:
        """Answer a batch of any size in the calling thread; see ``Session.infer``."""
        self._check_open()
        self._check(pixels)
        answers = [self._run(pixels[i : i + self.max_batch]) for i in range(0, len(pixels), self.max_batch)]
        return answers[0] if len(answers) == 1 else np.concatenate(answers)

    def submit(self, pixels: np.ndarray) -> Pending:
        """Start a batch in the pool; see ``Session.submit``."""
        self._check_open()
        self._check_batch(pixels)
        batch = pixels.copy()
        self._places.acquire()
        try:
            future = self._pool.submit(self._run, batch)
        except RuntimeError as error:  # closed in the meantime
            self._places.release()
            raise self._closed_error() from error
        future.add_done_callback(lambda _: self._places.release())
        return _PendingFuture(future)

    def close(self) -> None:
        """Wait for what is in flight, then free the network; see ``Session.close``."""
        self._closed = True
        self._pool.shutdown(wait=True)
        self._session = None

    def _run(self, pixels: np.ndarray) -> np.ndarray:
        session = self._session
        if session is None:
            raise self._closed_error()
        try:
            return session.run([PROBABILITIES], {PIXELS: np.ascontiguousarray(pixels)})[0]
        except Exception as error:  # ONNX Runtime's errors have no common base
            raise EngineError(f"ONNX Runtime failed on a batch of {len(pixels)} of {self._source}: {error}") from error

    def _check_open(self) -> None:
        if self._closed:
            raise self._closed_error()

    def _closed_error(self) -> EngineError:
        return EngineError(f"the session of {self._source} is closed; open another one")


class _PendingFuture(Pending):
    def __init__(self, future: Future[np.ndarray]) -> None:
        self._future = future

    def done(self) -> bool:
        return self._future.done()

    def result(self, timeout_s: float | None = None) -> np.ndarray:
        if not wait([self._future], timeout_s).done:
            raise TimeoutError("the batch has not been answered yet")
        return self._future.result()


def _loaded(onnx_file: Path, threads: int | None) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0  # 0: one a core
    options.log_severity_level = 3  # errors; what is worth a warning here is known
    try:
        return onnxruntime.InferenceSession(str(onnx_file), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's errors have no common base
        raise EngineError(f"ONNX Runtime cannot load {onnx_file}: {error}") from error


def _sizes(session: Any, onnx_file: Path) -> tuple[int, int]:
    """Side S and number of classes C, from the file's input and output."""
    found = [f"{v.name} {v.type} {v.shape}" for v in (*session.get_inputs(), *session.get_outputs())]
    try:
        (pixels,), (probabilities, *others) = session.get_inputs(), session.get_outputs()
        batch, side, width, channels = pixels.shape
        free, classes = probabilities.shape
    except ValueError:
        fits = False
    else:
        fits = (pixels.name, pixels.type, side, channels) == (PIXELS, "tensor(uint8)", width, 3)
        fits &= (probabilities.name, probabilities.type) == (PROBABILITIES, "tensor(float)")
        fits &= [output.name for output in others] in ([], [EMBEDDINGS])
        fits &= isinstance(side, int) and isinstance(classes, int)
        fits &= not isinstance(batch, int) and not isinstance(free, int)
    if not fits:
        raise EngineError(
            f"{onnx_file} has {', '.join(found)}; expected {PIXELS} tensor(uint8) [N, S, S, 3] and {PROBABILITIES} "
            "tensor(float) [N, C] with N free, as alexnet-build onnx --output FILE writes them"
        )
    return side, classes
