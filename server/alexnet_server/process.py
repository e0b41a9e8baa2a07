"""One tritonserver process: started in a group of its own, stopped without leaving processes or shared
memory.

Used by `serving.py`; what the server needs around it comes from `backends.py`.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import time
from typing import IO

from alexnet_server.log import LogRelay
from alexnet_server.shared_memory import SHARED_MEMORY
from alexnet_server.tether import start_tethered

# How long tritonserver waits for requests under way before it ends, and how long we wait for it to end.
DRAIN_TIMEOUT_S = 5
STOP_TIMEOUT_S = 15
_POLL_INTERVAL_S = 0.02


class TritonProcess:
    """A running tritonserver and everything it starts.

    It leads its own process group, so that a Ctrl-C in the terminal reaches this program alone, which then
    stops the server in order. Where this program is killed, the kernel tells the server to end. Its shared
    memory carries a prefix of its own, so that what is left of it can be told from other servers' and removed.
    """

    def __init__(
        self,
        command: list[str],
        environment: dict[str, str],
        log_file: IO[bytes] | None = None,
        *,
        verbose: bool = False,
    ) -> None:
        """Start `command`, which begins with the executable and ends with whatever the caller asked for."""
        self._shared_memory_prefix = f"alexnet-server-{os.getpid()}-{secrets.token_hex(4)}-"
        self._process = start_tethered(
            [*command, f"--backend-config=python,shm-region-prefix-name={self._shared_memory_prefix}"],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        assert self._process.stdout is not None
        self._log = LogRelay(self._process.stdout, log_file, verbose=verbose)
        self._log.start()

    @property
    def pid(self) -> int:
        """The process id of tritonserver, which is also its group's."""
        return self._process.pid

    def exit_code(self) -> int | None:
        """Return the exit code, negative for a signal; None while it runs."""
        return self._process.poll()

    def problems(self) -> list[str]:
        """Return the last warnings and errors it wrote, oldest first; complete once it has ended."""
        if self.exit_code() is not None:
            self._log.join(timeout=1)
        return self._log.problems()

    def stop(self, *, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """End the server: requests under way are answered, then what is left is killed. May be repeated."""
        # Only the server itself is told: a stub that gets the signal too dies under the requests it works on.
        self._process.terminate()
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        finally:
            self._remove_remains()

    def _remove_remains(self) -> None:
        """Kill whatever is left of the server's group, and remove its shared memory."""
        deadline = time.monotonic() + STOP_TIMEOUT_S
        while self._group_exists() and time.monotonic() < deadline:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            self._process.poll()
            # As process 1 of a container, this program inherits the server's children and has to collect
            # them.
            with contextlib.suppress(ChildProcessError):
                os.waitpid(-self.pid, os.WNOHANG)
            time.sleep(_POLL_INTERVAL_S)
        self._log.join(timeout=1)
        for segment in SHARED_MEMORY.glob(f"{self._shared_memory_prefix}*"):
            segment.unlink(missing_ok=True)

    def _group_exists(self) -> bool:
        try:
            os.killpg(self.pid, 0)
        except ProcessLookupError:
            return False
        return True
