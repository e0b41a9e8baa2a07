"""Random crops, rotations, flips and colours for a whole batch at once, on whatever device the batch is.

In: squeezed photographs (N, 3, R, R) uint8 with their aspect ratios. Out: (N, 3, S, S) float in [0, 1]. Every
image of a batch gets its own draw; crop, rotation and flip are one affine map and so one resampling, brightness,
contrast and saturation one affine map of the colours.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional
from torchvision.transforms import v2

#: Parts of a batch that have a draw of a policy each: torchvision varies whole batches alike.
_POLICY_GROUPS = 16


@dataclass(frozen=True)
class Augmentation:
    """How strongly training images are varied.

    Attributes:
        policy: ``trivial`` (Müller and Hutter 2021) or ``rand`` (Cubuk et al. 2020) apply torchvision's
            operations to the photographs before all else; ``none`` does not.
        min_area: Smallest share of a photograph's area that a crop shows, 0 to 1 (Szegedy et al. 2015, section 6).
        max_stretch: Largest change of a crop's aspect ratio, as a factor.
        degrees: Largest rotation either way.
        jitter: Largest relative change of brightness, contrast and saturation.
        erase: Probability of blanking a random rectangle (Zhong et al. 2017).
        mix: Probability that a batch is mixed, by mixup or cutmix with equal chance.
    """

    policy: Literal["none", "trivial", "rand"] = "none"
    min_area: float = 0.3
    max_stretch: float = 4 / 3
    degrees: float = 15.0
    jitter: float = 0.4
    erase: float = 0.25
    mix: float = 0.8


def augmented(pixels: Tensor, aspects: Tensor, size: int, how: Augmentation) -> Tensor:
    """Vary a batch.

    Args:
        pixels: (N, 3, R, R) uint8, photographs squeezed to a square.
        aspects: (N,) width over height of each photograph before it was squeezed.
        size: S, side of the crops in pixels.
        how: The strength of each variation.

    Returns:
        (N, 3, S, S) float32 in [0, 1].
    """
    if how.policy != "none":
        policy = v2.TrivialAugmentWide() if how.policy == "trivial" else v2.RandAugment()
        pixels = torch.cat([policy(group) for group in pixels.chunk(_POLICY_GROUPS)])
    grid = _sampling_grid(_crop_maps(aspects, how), size)
    levels = functional.grid_sample(
        pixels.float(), grid, mode="bilinear", padding_mode="reflection", align_corners=False
    )  # (N, 3, S, S) in [0, 255]
    return _erased(_recoloured(levels, how.jitter), how.erase)


def _uniform(low: float, high: float, like: Tensor) -> Tensor:
    return torch.empty(len(like), device=like.device).uniform_(low, high)


def _crop_maps(aspects: Tensor, how: Augmentation) -> Tensor:
    """Affine maps (N, 2, 3) from crop coordinates to photograph coordinates, both in [-1, 1]."""
    area = _uniform(how.min_area, 1.0, aspects) * aspects  # photographs have height 1 and width `aspects`
    ratio = torch.exp(_uniform(-1.0, 1.0, aspects) * math.log(how.max_stretch))
    width, height = torch.sqrt(area * ratio), torch.sqrt(area / ratio)
    fit = torch.minimum(aspects / width, 1 / height).clamp(max=1.0)  # what sticks out shrinks, its shape stays
    width, height = width * fit, height * fit
    angle = _uniform(-1.0, 1.0, aspects) * math.radians(how.degrees)
    flip = torch.sign(_uniform(-1.0, 1.0, aspects))
    centre_x = _uniform(-1.0, 1.0, aspects) * (1 - width / aspects)
    centre_y = _uniform(-1.0, 1.0, aspects) * (1 - height)
    row_x = torch.stack([flip * width * angle.cos() / aspects, -height * angle.sin() / aspects, centre_x], 1)
    row_y = torch.stack([flip * width * angle.sin(), height * angle.cos(), centre_y], 1)
    return torch.stack([row_x, row_y], 1)


def _sampling_grid(theta: Tensor, size: int) -> Tensor:
    """Where each pixel of a crop comes from, (N, S, S, 2); torch's ``affine_grid`` does it by slow small products."""
    at = (torch.arange(size, device=theta.device) * 2 + 1) / size - 1  # centres of pixels
    by_column = theta[:, None, :, 0] * at[:, None]  # (N, S, 2)
    by_row = theta[:, None, :, 1] * at[:, None] + theta[:, None, :, 2]
    return by_row[:, :, None] + by_column[:, None]


def _recoloured(levels: Tensor, strength: float) -> Tensor:
    """Levels in [0, 255] to [0, 1], brightness, contrast and saturation scaled by 1 - strength to 1 + strength.

    Saturation s, contrast c and brightness b, one after the other, make b c s x + b c (1 - s) grey + b (1 - c) mean of
    a colour x, its grey and the image's mean grey.
    """
    if not strength:
        return levels / 255
    brightness, contrast, saturation = (
        _uniform(1 - strength, 1 + strength, levels).reshape(-1, 1, 1, 1) for _ in range(3)
    )
    red, green, blue = levels.unbind(1)
    grey = (0.299 * red).add_(green, alpha=0.587).add_(blue, alpha=0.114)[:, None]  # ITU-R BT.601, as Pillow's "L"
    mean = grey.mean((2, 3), keepdim=True)  # (N, 1, 1, 1)
    constant = grey * (brightness * contrast * (1 - saturation) / 255) + brightness * (1 - contrast) * mean / 255
    return torch.addcmul(constant, levels, brightness * contrast * saturation / 255).clamp_(0, 1)


def _erased(images: Tensor, probability: float) -> Tensor:
    """Blank a rectangle of 2 to 25 % of the area to mid-grey in a share of the images; changes them in place."""
    if not probability:
        return images
    size = images.shape[-1]
    area = _uniform(0.02, 0.25, images)
    ratio = torch.exp(_uniform(-1.0, 1.0, images) * math.log(3.0))
    half_width, half_height = torch.sqrt(area * ratio) / 2, torch.sqrt(area / ratio) / 2
    centre_x, centre_y = _uniform(0, 1, images), _uniform(0, 1, images)
    at = (torch.arange(size, device=images.device) + 0.5) / size
    in_x = (at[None] - centre_x[:, None]).abs() < half_width[:, None]  # (N, S)
    in_y = (at[None] - centre_y[:, None]).abs() < half_height[:, None]
    chosen = _uniform(0, 1, images) < probability
    blank = in_y[:, :, None] & in_x[:, None, :] & chosen[:, None, None]  # (N, S, S)
    return images.masked_fill_(blank[:, None], 0.5)
