"""What NVIDIA publishes of its cards: dense peaks and memory bandwidth, to set beside what is measured.

In: the name that CUDA gives a card. Out: ``Ceilings``, or None. Datasheets print tensor cores' figures with 2:4
sparsity; dense ones are half of those. TOPS of integers and TFLOPS are both operations a second here.
"""

from __future__ import annotations

from alexnet_build.insight.ceilings import Ceilings

_TERA = 1e12


def _card(source: str, terabytes_per_s: float, **tera_flops: float) -> Ceilings:
    return Ceilings(source, terabytes_per_s * _TERA, {name: value * _TERA for name, value in tera_flops.items()})


_HOPPER_SXM = {"FP32": 67, "TF32": 494.5, "FP16": 989.5, "BF16": 989.5, "FP8": 1979, "INT8": 1979}
_A100 = {"FP32": 19.5, "TF32": 156, "FP16": 312, "BF16": 312, "INT8": 624}

_RTX_4090 = {"FP32": 82.6, "TF32": 82.6, "FP16": 165.2, "BF16": 165.2, "FP8": 330.3, "INT8": 660.6}

#: By CUDA's whole name of a card, for variants with a longer or shorter name have other figures. FP16, BF16 and FP8
#: are with FP32 accumulation.
_CARDS = {
    "NVIDIA H200": _card("NVIDIA H200 datasheet, SXM", 4.8, **_HOPPER_SXM),
    "NVIDIA H100 80GB HBM3": _card("NVIDIA H100 datasheet, SXM", 3.35, **_HOPPER_SXM),
    "NVIDIA H100 PCIe": _card(
        "NVIDIA H100 datasheet, PCIe", 2.0, FP32=51, TF32=378, FP16=756.5, BF16=756.5, FP8=1513, INT8=1513
    ),
    "NVIDIA A100-SXM4-80GB": _card("NVIDIA A100 datasheet, 80 GB SXM", 2.039, **_A100),
    "NVIDIA A100 80GB PCIe": _card("NVIDIA A100 datasheet, 80 GB PCIe", 1.935, **_A100),
    "NVIDIA A100-SXM4-40GB": _card("NVIDIA A100 datasheet, 40 GB", 1.555, **_A100),
    "NVIDIA A100-PCIE-40GB": _card("NVIDIA A100 datasheet, 40 GB", 1.555, **_A100),
    "NVIDIA A10": _card("NVIDIA A10 datasheet", 0.6, FP32=31.2, TF32=62.5, FP16=125, BF16=125, INT8=250),
    "NVIDIA L40S": _card("NVIDIA L40S datasheet", 0.864, FP32=91.6, TF32=183, FP16=362, BF16=362, FP8=733, INT8=733),
    "NVIDIA L4": _card("NVIDIA L4 datasheet", 0.3, FP32=30.3, TF32=60, FP16=121, BF16=121, FP8=242.5, INT8=242.5),
    "Tesla T4": _card("NVIDIA T4 datasheet", 0.32, FP32=8.1, FP16=65, INT8=130),
    "NVIDIA GeForce RTX 4090": _card("NVIDIA Ada GPU architecture, appendix A", 1.008, **_RTX_4090),
    "NVIDIA GeForce RTX 3090": _card(
        "NVIDIA Ampere GA102 GPU architecture, appendix A", 0.936, FP32=35.6, TF32=35.6, FP16=71, BF16=71, INT8=284
    ),
}


def published_ceilings(card: str) -> Ceilings | None:
    """The vendor's figures for a card, by the name that CUDA gives it; None for one that is not listed here."""
    return _CARDS.get(card)
