"""What a frame of a video costs, and what it loses, in each way that a client could send it.

    python benchmarks/video_frames.py --repository models [PHOTOGRAPH...]

In: a repository for ONNX Runtime and photographs, which become frames of an H.264 video of 1920x1080. Out: a table. The
frame as a whole, as PNG, is what the others are compared with. No server is needed: its preprocessing and its network
are run here, one frame at a time.
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import onnxruntime
from alexnet_client._cli.video_pixels import upright_pixels
from alexnet_client._images import png_from_pixels
from PIL import Image

SIZE = (1920, 1080)
PHOTOGRAPHS = Path(__file__).parent.parent / "build" / "alexnet_build" / "photographs"


def main() -> None:
    """Print a row for each way."""
    parser = argparse.ArgumentParser(description="Compare the ways to send a frame of a video.")
    parser.add_argument("photographs", nargs="*", type=Path, default=sorted(PHOTOGRAPHS.glob("*.jpg")))
    parser.add_argument("--repository", type=Path, required=True, help="a model repository for ONNX Runtime")
    arguments = parser.parse_args()
    ways: dict[str, Callable[[av.VideoFrame], bytes]] = {
        "whole, PNG": lambda frame: png_from_pixels(frame.to_ndarray(format="rgb24", src_colorspace="ITU709")),
        "whole, JPEG": lambda frame: jpeg_from_frame(frame.reformat(format="rgb24", src_colorspace="ITU709")),
        "256, PNG (classify-video)": lambda frame: png_from_pixels(upright_pixels(frame)),
        "256, JPEG": lambda frame: jpeg_from_frame(av.VideoFrame.from_ndarray(upright_pixels(frame), "rgb24")),
    }
    probabilities = network(arguments.repository)
    frames = list(frames_of(arguments.photographs))
    whole: list[Any] = []
    print(f"{len(frames)} frames of {SIZE[0]}x{SIZE[1]}; times are medians\n")
    print("| sent | KB | client ms | server's decoder ms | same best label | largest difference of a probability |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for name, encode in ways.items():
        sizes, client_s, server_s, answers = [], [], [], []
        for frame in frames:
            started_s = time.perf_counter()
            sent = encode(frame)
            encoded_s = time.perf_counter()
            answer, decoding_s = probabilities(sent)
            sizes.append(len(sent))
            client_s.append(encoded_s - started_s)
            server_s.append(decoding_s)
            answers.append(answer)
        whole = whole or answers
        same = sum(int(a.argmax() == b.argmax()) for a, b in zip(answers, whole, strict=True))
        largest = max(float(np.abs(a - b).max()) for a, b in zip(answers, whole, strict=True))
        times = f"{statistics.median(client_s) * 1e3:.1f} | {statistics.median(server_s) * 1e3:.1f}"
        print(f"| {name} | {statistics.mean(sizes) / 1e3:.0f} | {times} | {same} of {len(frames)} | {largest:.4f} |")


def frames_of(photographs: list[Path]) -> Iterator[av.VideoFrame]:
    """Each photograph, cut to the size of the video, as the decoder gives it back."""
    video = io.BytesIO()
    with av.open(video, "w", format="matroska") as container:
        stream = container.add_stream("libx264", rate=1, options={"crf": "20", "g": "1"})
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        for path in photographs:
            image = Image.open(path).convert("RGB")
            scale = max(SIZE[0] / image.width, SIZE[1] / image.height)
            width, height = round(image.width * scale), round(image.height * scale)
            left, upper = (width - SIZE[0]) // 2, (height - SIZE[1]) // 2
            cut = image.resize((width, height)).crop((left, upper, left + SIZE[0], upper + SIZE[1]))
            frame = av.VideoFrame.from_image(cut).reformat(format="yuv420p", dst_colorspace="ITU709")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    video.seek(0)
    with av.open(video) as container:
        yield from container.decode(video=0)


def jpeg_from_frame(frame: av.VideoFrame) -> bytes:
    """A JPEG file of FFmpeg's best quality, its colours not subsampled; of RGB."""
    whole = frame.reformat(format="yuvj444p", dst_colorspace="ITU601", dst_color_range="JPEG")
    whole.pts = 0
    encoder = av.CodecContext.create("mjpeg", "w")
    encoder.width, encoder.height, encoder.pix_fmt = whole.width, whole.height, "yuvj444p"
    encoder.time_base = Fraction(1)
    encoder.qmin = encoder.qmax = 2
    return b"".join(bytes(packet) for packet in encoder.encode(whole))


def network(repository: Path) -> Callable[[bytes], tuple[Any, float]]:
    """The repository's own preprocessing and engine: image bytes to (C,) probabilities, and the decoder's seconds."""
    path = repository / "preprocess" / "1" / "image_preprocessing.py"
    spec = importlib.util.spec_from_file_location("image_preprocessing", path)
    assert spec is not None
    assert spec.loader is not None
    preprocessing = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = preprocessing
    spec.loader.exec_module(preprocessing)
    engine = max((repository / "alexnet").glob("*/model.onnx"), key=lambda model: int(model.parent.name))
    session = onnxruntime.InferenceSession(engine)
    (pixels,) = session.get_inputs()

    def probabilities(image_bytes: bytes) -> tuple[Any, float]:
        started_s = time.perf_counter()
        crop = preprocessing.pixels_from_image(image_bytes, pixels.shape[1])
        decoded_s = time.perf_counter() - started_s
        return session.run(None, {pixels.name: crop[None]})[0][0], decoded_s

    return probabilities


if __name__ == "__main__":
    main()
