"""What can go wrong while settings are searched."""

from __future__ import annotations

from alexnet_build.errors import BuildError


class TuningError(BuildError):
    """Settings could not be searched; the repository's files are as they were."""


class CandidateRefusedError(TuningError):
    """The server would not load a candidate's settings; what it served before, it still serves."""
