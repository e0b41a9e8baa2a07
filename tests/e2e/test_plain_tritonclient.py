"""An application without our client: plain tritonclient, ten lines."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from PIL import Image

SCRIPT = """
import sys, numpy, tritonclient.grpc as triton
url, *paths = sys.argv[1:]
client = triton.InferenceServerClient(url)
photographs = numpy.array([[open(path, "rb").read()] for path in paths], dtype=object)
image = triton.InferInput("IMAGE", photographs.shape, "BYTES")
image.set_data_from_numpy(photographs)
best = triton.InferRequestedOutput("PROBABILITIES", class_count=3)
answer = client.infer("classifier", [image], outputs=[best]).as_numpy("PROBABILITIES")
for path, classes in zip(paths, answer):
    print(*(entry.decode().split(":", 2)[2] for entry in classes))
"""


def test_one_request_of_many_formats_and_sizes_gets_an_answer_for_each(
    server: Any, photographs: list[Path], tmp_path: Path
) -> None:
    cat = next(path for path in photographs if path.stem == "cat")
    paths = list(photographs)
    for suffix in (".png", ".webp", ".bmp", ".gif", ".tiff"):
        paths.append(tmp_path / f"cat{suffix}")
        with Image.open(cat) as image:
            image.save(paths[-1])
    command = [sys.executable, "-c", SCRIPT, server.grpc_url, *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    answers = [line.split()[0] for line in done.stdout.splitlines()]
    assert answers == ["binocular", "cougar_face", "gramophone", "Faces", "ketch", *["cougar_face"] * 5]
    assert len(SCRIPT.strip().splitlines()) == 10
