"""Processor time and memory of a process and all it started.

In: a process id. Out: seconds and bytes. Called by the load generators around what they measure.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import psutil


@dataclass(frozen=True)
class Clock:
    """The wall's and the processes' clocks at one moment, in seconds."""

    wall_s: float
    generator_s: float
    server_s: float
    machine_s: float


@dataclass(frozen=True)
class Cores:
    """Processor time a second between two clocks: cores that were busy."""

    server: float
    generator: float
    other: float


def read_clock(server_pid: int | None, generator_s: float) -> Clock:
    """Read all clocks at once.

    Args:
        server_pid: whose tree of processes is the server; None for none.
        generator_s: processor time of the generator until now.
    """
    machine = psutil.cpu_times()
    busy_s = sum(machine) - machine.idle - machine.iowait - machine.guest - machine.guest_nice
    server_s = sum(_processor_s(process) for process in processes_of(server_pid))
    return Clock(time.monotonic(), generator_s, server_s, busy_s)


def cores_between(begun: Clock, ended: Clock) -> Cores:
    """Say who used the cores between two moments."""
    wall_s = ended.wall_s - begun.wall_s
    server = (ended.server_s - begun.server_s) / wall_s
    generator = (ended.generator_s - begun.generator_s) / wall_s
    return Cores(server, generator, (ended.machine_s - begun.machine_s) / wall_s - server - generator)


def memory_bytes(pid: int) -> int:
    """Return the memory of a tree of processes: PSS, which counts shared pages once."""
    total = 0
    for process in processes_of(pid):
        try:
            total += process.memory_full_info().pss
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue  # it ended meanwhile
    return total


def processes_of(pid: int | None) -> list[psutil.Process]:
    """Return a process and all its descendants; none if it is gone."""
    if pid is None:
        return []
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _processor_s(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return times.user + times.system
