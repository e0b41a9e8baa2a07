"""The images that are sent are what the figures say they are."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image


def test_jpegs_have_the_stated_size_and_about_the_stated_bytes(benchmark_module) -> None:
    jpegs = benchmark_module("jpegs")
    files = jpegs.jpegs_from_photographs()
    opened = [Image.open(io.BytesIO(file)) for file in files]
    assert len(files) == 15
    assert {(image.format, image.mode, image.size) for image in opened} == {("JPEG", "RGB", (500, 375))}
    assert 95_000 < np.median([len(file) for file in files]) < 120_000
    assert max(len(file) for file in files) < 125_000


def test_jpegs_are_the_same_files_every_time(benchmark_module) -> None:
    jpegs = benchmark_module("jpegs")
    assert jpegs.jpegs_from_photographs() == jpegs.jpegs_from_photographs()


def test_jpeg_of_size_takes_the_best_quality_when_the_target_is_out_of_reach(benchmark_module) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    best = io.BytesIO()
    noise.save(best, "JPEG", quality=100)
    assert benchmark_module("jpegs").jpeg_of_size(noise, 1_000_000) == best.getvalue()


def test_processor_name_is_read_with_its_family(benchmark_module) -> None:
    cpuinfo = "processor\t: 0\ncpu family\t: 6\nmodel\t\t: 85\nmodel name\t: Some CPU\n\nmodel name\t: Other\n"
    assert benchmark_module("machine").processor_name(cpuinfo) == "Some CPU (family 6, model 85)"
