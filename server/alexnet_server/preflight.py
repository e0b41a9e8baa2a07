"""What would keep a repository from being served here: a `Situation` in, findings out, before anything
starts.

A check is a function from a Situation to findings; a further one is added to `CHECKS`. `alexnet-server
check` prints what they find, and everything that starts a server refuses in the same words.
"""

from __future__ import annotations

from alexnet_server import machine_checks, repository_checks
from alexnet_server.findings import Check, Finding, Situation

CHECKS: tuple[Check, ...] = (
    repository_checks.check_configs,
    repository_checks.check_ensembles,
    repository_checks.check_model_files,
    repository_checks.check_labels,
    machine_checks.check_backends,
    machine_checks.check_stub,
    machine_checks.check_python_packages,
    machine_checks.check_shared_memory,
)


def run_checks(situation: Situation) -> tuple[Finding, ...]:
    """Return every finding of every check; empty means that nothing is known to be in the way."""
    return tuple(finding for check in CHECKS for finding in check(situation))
