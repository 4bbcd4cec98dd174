"""What a network expects done to a picture before it sees it (no torch here)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """From 8-bit pixels to the input tensor: ``(pixel * scale - mean) / std``, per channel.

    `mean` and `std` are in `channel_order`. Resizing is bilinear and keeps the aspect ratio.
    """

    resize: int = 256  # pixels of the shorter side after resizing
    crop: int = 224  # pixels of the square cut from the center
    channel_order: Literal["RGB", "BGR"] = "RGB"
    scale: float = 1 / 255
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)

    @property
    def input_rms(self) -> float:
        """Root mean square of the input for uniformly distributed pixels."""
        total = 0.0
        for mean, std in zip(self.mean, self.std, strict=True):
            center = (127.5 * self.scale - mean) / std
            spread = 255 * self.scale / std
            total += center * center + spread * spread / 12  # a uniform variable's variance
        return float((total / 3) ** 0.5)


IMAGENET = Preprocessing()
# Megvii's training feeds OpenCV's BGR bytes as floats, neither scaled nor centered.
RAW_BGR = Preprocessing(channel_order="BGR", scale=1.0, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
