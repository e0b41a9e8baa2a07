"""What `shrink` and `shared_memory` of the client do, against the plain way, on a server that is running.

    alexnet-server run --repository models
    python benchmarks/client_images.py --url localhost:8001 DIR

DIR has photographs, of any size. For `shrink` each is enlarged to a short side of 2,400 pixels, with noise in every one
of them, as a camera of 8 megapixels would have taken it; written as JPEG and PNG; and classified whole and shrunk.
For `shared_memory` the bytes count alone: one photograph followed by as many zeros as it takes, which decoders ignore.
The two ways take turns. Results on stdout, as tables of Markdown.
"""

from __future__ import annotations

import argparse
import io
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from alexnet_client import Classifier
from alexnet_client._shrink import shrunk_image_bytes
from PIL import Image

SHORT_SIDE = 2400
NOISE = 12  # of 255, up and down
SHARED_BYTES = {100_000: 200, 1_000_000: 100, 5_000_000: 60, 50_000_000: 20}  # and how many requests each way
ROUNDS = 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photographs", type=Path, help="a folder of JPEGs, searched recursively")
    parser.add_argument("--url", default="localhost:8001", help="the server's gRPC address")
    parser.add_argument("--count", type=int, default=100, help="photographs, taken evenly")
    arguments = parser.parse_args()
    paths = sorted(arguments.photographs.rglob("*.jpg"))
    paths = paths[:: max(1, len(paths) // arguments.count)]
    if not paths:
        parser.error(f"{arguments.photographs} has no *.jpg")
    with Classifier(arguments.url) as classifier:
        print(
            "| format | photographs | bytes sent | ms of CPU | same first class | probability that moved, mean | most |"
        )
        print("| --- | --- | --- | --- | --- | --- | --- |")
        for kind in ("JPEG", "PNG"):
            print(shrink_row(classifier, kind, paths if kind == "JPEG" else paths[::3]), flush=True)
    print("\n| bytes | ms an image | by shared memory | ms of the client's CPU | by shared memory |")
    print("| --- | --- | --- | --- | --- |")
    for row in shared_rows(arguments.url, paths[0].read_bytes()):
        print(row, flush=True)


def shrink_row(classifier: Classifier, kind: str, paths: list[Path]) -> str:
    """Whole against shrunk, for one format."""
    whole_bytes, sent_bytes, cpu_s, same, moved = 0, 0, 0.0, 0, []
    for path in paths:
        whole = enlarged(path, kind)
        started_s = time.process_time()
        sent = shrunk_image_bytes(whole)
        cpu_s += time.process_time() - started_s
        expected, found = (
            {p.index: p.score for p in classifier.classify(image, top_k=100_000)} for image in (whole, sent)
        )
        whole_bytes, sent_bytes = whole_bytes + len(whole), sent_bytes + len(sent)
        same += max(expected, key=expected.__getitem__) == max(found, key=found.__getitem__)
        moved.append(sum(abs(found[index] - expected[index]) for index in expected) / 2)  # total variation
        print(f"\r{kind} {len(moved)}/{len(paths)}", end="", file=sys.stderr)
    count = len(paths)
    return (
        f"| {kind} | {count} | {whole_bytes / count / 1e3:.0f} KB → {sent_bytes / count / 1e3:.0f} KB "
        f"| {cpu_s / count * 1e3:.0f} | {same} of {count} | {statistics.mean(moved):.2%} | {max(moved):.2%} |"
    )


def enlarged(path: Path, kind: str) -> bytes:
    """A photograph as a large camera would have taken it."""
    with Image.open(path) as small:
        scale = SHORT_SIDE / min(small.size)
        size = round(small.width * scale), round(small.height * scale)
        image = small.convert("RGB").resize(size, Image.Resampling.BICUBIC)
    noise = np.random.default_rng(0).integers(-NOISE, NOISE + 1, (image.height, image.width, 1), np.int16)
    target = io.BytesIO()
    pixels = (np.asarray(image, np.int16) + noise).clip(0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(target, kind, quality=90, compress_level=1)
    return target.getvalue()


def shared_rows(url: str, photograph: bytes) -> Iterator[str]:
    """Plain against shared memory, one request at a time, for each number of bytes."""
    with Classifier(url) as plain, Classifier(url, shared_memory=True) as shared:
        for byte_count, requests in SHARED_BYTES.items():
            image = photograph + bytes(max(0, byte_count - len(photograph)))
            assert plain.classify(image) == shared.classify(image)
            latencies_s: dict[Classifier, list[float]] = {plain: [], shared: []}
            cpu_s = dict.fromkeys(latencies_s, 0.0)
            for _ in range(ROUNDS):
                for classifier, seen_s in latencies_s.items():
                    began_s = time.process_time()
                    for _ in range(requests // ROUNDS):
                        started_s = time.perf_counter()
                        classifier.classify(image)
                        seen_s.append(time.perf_counter() - started_s)
                    cpu_s[classifier] += time.process_time() - began_s
            (ms, ms_shared), (cpu, cpu_shared) = (
                [statistics.median(seen_s) * 1e3 for seen_s in latencies_s.values()],
                [seconds / requests * 1e3 for seconds in cpu_s.values()],
            )
            yield f"| {byte_count:,} | {ms:.1f} | {ms_shared:.1f} | {cpu:.1f} | {cpu_shared:.1f} |"


if __name__ == "__main__":
    main()
