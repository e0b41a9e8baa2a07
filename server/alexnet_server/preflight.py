"""What would keep a repository from being served here: a `Situation` in, findings out, before anything
starts.

A check is a function from a Situation to findings; a further one is added to `CHECKS`. `alexnet-server
check` prints what they find, and everything that starts a server refuses in the same words. What the checks
of `NOTES` find keeps nothing from loading, and `alexnet-server check` alone says it.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from alexnet_server import (
    ensemble_checks,
    fitting_checks,
    hardware_checks,
    machine_checks,
    permission_checks,
    repository_checks,
)
from alexnet_server.discovery import find_tritonserver
from alexnet_server.findings import Check, Finding, Situation, Target
from alexnet_server.repository import read_repository

CHECKS: tuple[Check, ...] = (
    permission_checks.check_readable,
    permission_checks.check_not_world_writable,
    repository_checks.check_configs,
    ensemble_checks.check_steps,
    ensemble_checks.check_ensemble_tensors,
    ensemble_checks.check_ensemble_batch,
    repository_checks.check_model_files,
    repository_checks.check_labels,
    repository_checks.check_batch_sizes,
    repository_checks.check_warmup_files,
    fitting_checks.check_manifests,
    fitting_checks.check_engine_files,
    fitting_checks.check_batch_range,
    fitting_checks.check_classes,
    fitting_checks.check_tensors,
    hardware_checks.check_tensorrt,
    hardware_checks.check_gpus,
)
# Not asked where another machine is to serve the repository.
MACHINE_CHECKS: tuple[Check, ...] = (
    machine_checks.check_backends,
    machine_checks.check_stub,
    machine_checks.check_python_packages,
    machine_checks.check_shared_memory,
)
NOTES: tuple[Check, ...] = (
    hardware_checks.note_unknown_hardware,
    machine_checks.note_little_shared_memory,
    machine_checks.note_many_instances,
)


def read_situation(
    repository: Path,
    tritonserver: Path | None = None,
    triton_flags: tuple[str, ...] = (),
    *,
    target: Target | None = None,
    hash_engines: bool = False,
) -> Situation:
    """Read the repository and find the server, for the checks; see `Situation` for the arguments.

    Raises:
        TritonNotFoundError: there is no tritonserver.
        ServerError: there is no repository.
    """
    models = read_repository(repository)
    server = None if target else find_tritonserver(tritonserver)
    return Situation(repository, models, server, triton_flags, target, hash_engines)


def run_checks(situation: Situation) -> tuple[Finding, ...]:
    """Return every finding of every check; empty means that nothing is known to be in the way."""
    # Checks of the machine wait for other programs, so they run beside the checks of files.
    with ThreadPoolExecutor() as pool:
        machine_findings = [pool.submit(_run, check, situation) for check in MACHINE_CHECKS if situation.server]
        findings = [finding for check in CHECKS for finding in check(situation)]
        return (*findings, *(finding for found in machine_findings for finding in found.result()))


def run_notes(situation: Situation) -> tuple[Finding, ...]:
    """Return what is worth knowing and keeps no model from loading."""
    return tuple(finding for note in NOTES for finding in note(situation))


def _run(check: Check, situation: Situation) -> list[Finding]:
    return list(check(situation))
