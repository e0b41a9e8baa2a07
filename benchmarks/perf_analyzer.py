"""NVIDIA's own load generator, perf_analyzer: found or fetched, run, and its report read.

In: a Triton server's address and JPEG files. Out: a ``Load``. Called by serving.py.

The program is in the manylinux wheels of tritonclient up to 2.51; `pip download` fetches one into a cache folder. Two
libraries that it wants come with nvidia-pytriton, under names of their own: links in the cache folder give them the
names that it asks for.
"""

from __future__ import annotations

import base64
import json
import os
import re
import resource
import struct
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

from load import Load
from usage import cores_between, memory_bytes, read_clock

#: The last release whose manylinux wheel has the program, and the release of the embedded server.
WHEEL = "tritonclient==2.51.0"
LIBRARIES = ("libb64.so.0d", "libcudart.so.12")
#: It calls a figure stable after three windows that agree; here three windows are always what is measured.
WINDOWS = 3
TIMEOUT_S = 120


class PerfAnalyzerError(RuntimeError):
    """The program could not be fetched or did not measure."""


def cache_folder() -> Path:
    """Where what is fetched or built once is kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "alexnet-triton" / "benchmarks"


def fetch_perf_analyzer(folder: Path) -> Path:
    """Return the program in a folder, fetched if it is not there.

    Raises:
        PerfAnalyzerError: pip could not fetch the wheel, or it holds no such program.
    """
    program = folder / "perf_analyzer"
    if not program.exists():
        folder.mkdir(parents=True, exist_ok=True)
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            WHEEL,
            "--no-deps",
            "--only-binary=:all:",
            f"--dest={folder}",
        ]
        done = subprocess.run([*command, "--platform=manylinux1_x86_64"], capture_output=True, text=True)
        wheels = sorted(folder.glob("tritonclient-*.whl"))
        if done.returncode or not wheels:
            raise PerfAnalyzerError(f"pip could not fetch {WHEEL} for perf_analyzer:\n{done.stderr}")
        with zipfile.ZipFile(wheels[-1]) as wheel:
            inside = [name for name in wheel.namelist() if name.endswith("/bin/perf_analyzer")]
            if not inside:
                raise PerfAnalyzerError(f"{wheels[-1].name} holds no perf_analyzer")
            partial = program.with_suffix(".part")
            partial.write_bytes(wheel.read(inside[0]))
        partial.chmod(0o755)
        partial.rename(program)
        for path in wheels:
            path.unlink()
    link_libraries(folder)
    return program


def link_libraries(folder: Path) -> None:
    """Give nvidia-pytriton's libraries the names that the program asks for."""
    for name in LIBRARIES:
        stem, _, version = name.partition(".so")
        found = sorted(pytriton_libraries().glob(f"{stem}-*.so{version}*"))
        link = folder / name
        link.unlink(missing_ok=True)
        if found:  # otherwise the loader looks among the system's own
            link.symlink_to(found[0])


def pytriton_libraries() -> Path:
    """The folder of the libraries that nvidia-pytriton's wheel brings."""
    package = find_spec("pytriton")
    assert package is not None, "nvidia-pytriton is not installed; next: pip install -e '.[embedded]'"
    assert package.origin is not None
    return Path(package.origin).parents[1] / "nvidia_pytriton.libs"


def write_input_data(jpegs: list[Path], path: Path) -> None:
    """Write the images as perf_analyzer takes them: each a STRING tensor, 4-byte length and bytes, in base 64."""
    steps = [{"IMAGE": {"b64": encoded(jpeg.read_bytes()), "shape": [1]}} for jpeg in jpegs]
    path.write_text(json.dumps({"data": steps}), encoding="ascii")


def encoded(jpeg: bytes) -> str:
    return base64.b64encode(struct.pack("<I", len(jpeg)) + jpeg).decode("ascii")


def measure(
    program: Path, grpc_url: str, input_data: Path, *, seconds: float, concurrency: int, server_pid: int
) -> Load:
    """Keep the model "classifier" busy for three windows.

    Args:
        program: what `fetch_perf_analyzer` returned.
        grpc_url: HOST:PORT.
        input_data: what `write_input_data` wrote.
        seconds: of the three windows together.
        concurrency: requests under way at once.
        server_pid: the server, for its processor time and memory.

    Raises:
        PerfAnalyzerError: it failed, or requests did.
    """
    command = [str(program), "-m", "classifier", "-u", grpc_url, "-i", "grpc", "--input-data", str(input_data)]
    command += [
        "--shape",
        "IMAGE:1",
        "--concurrency-range",
        str(concurrency),
        "-p",
        str(round(seconds / WINDOWS * 1e3)),
    ]
    command += ["-r", str(WINDOWS), "-s", "999", "--percentile=50"]
    environment = os.environ | {"LD_LIBRARY_PATH": f"{program.parent}:{pytriton_libraries()}"}
    begun = read_clock(server_pid, children_s())
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=TIMEOUT_S)
    ended = read_clock(server_pid, children_s())
    if done.returncode:
        raise PerfAnalyzerError(f"perf_analyzer failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    images, images_per_s, p50_s, p99_s = figures_from_report(done.stdout)
    cores = cores_between(begun, ended)
    return Load(
        images=images,
        failed=0,
        seconds=images / images_per_s,
        images_per_s=images_per_s,
        p50_s=p50_s,
        p99_s=p99_s,
        server_cores=cores.server,
        generator_cores=cores.generator,
        other_cores=cores.other,
        server_bytes=memory_bytes(server_pid),
    )


def figures_from_report(report: str) -> tuple[int, float, float, float]:
    """Read requests, requests per second, and the median and 99th percentile of the latency in seconds.

    Raises:
        PerfAnalyzerError: one of them is not in the report.
    """
    patterns = (
        r"Request count: (\d+)",
        r"Throughput: ([\d.]+) infer/sec",
        r"p50 latency: (\d+)",
        r"p99 latency: (\d+)",
    )
    found = [re.search(pattern, report) for pattern in patterns]
    if not all(found):
        raise PerfAnalyzerError(f"perf_analyzer's report lacks a figure:\n{report[-2000:]}")
    images, images_per_s, p50_us, p99_us = (float(match[1]) for match in found if match)
    return int(images), images_per_s, p50_us / 1e6, p99_us / 1e6


def children_s() -> float:
    """Processor time of the processes that this one has waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
