"""The letterbox: images and masks into the model's square, predictions back to the image's own pixels.

One affine map and its exact inverse, as in the released code of CRIS, ETRIS and BarLeRIa (`getTransformMat`): the
aspect ratio is kept, the image is centred, and pixel i goes to s * i + b on the integer grid. Nothing here resizes,
because mixing `resize` (half-pixel centres) with `warpAffine` (integer grid) costs 1.5 points of mask IoU.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from barbench.spec.backbone import CLIP_NORMALIZATION, Normalization

cv2.setNumThreads(0)  # cores belong to the model and to the loader's processes; its pool would not survive a fork


def normalized(squares: Tensor, normalization: Normalization) -> Tensor:
    """Normalize a batch as the backbone's training did, on the device of `squares`.

    Images travel as bytes and become floats where the model is. Every operand is a tensor there: on a GPU, division by
    a Python number is a multiplication, which rounds differently from a CPU.

    Args:
        squares: uint8 (B, S, S, 3) RGB.
        normalization: mean and standard deviation of the backbone's pixels.

    Returns:
        float32 (B, 3, S, S), with the mean subtracted and divided by the standard deviation.
    """
    x = squares.permute(0, 3, 1, 2).float()
    white, mean, std = _constants(x.device, normalization)
    return x.div_(white).sub_(mean).div_(std).contiguous()


@lru_cache
def _constants(device: torch.device, normalization: Normalization) -> tuple[Tensor, Tensor, Tensor]:
    """White, mean and standard deviation, copied to the device once: each copy would wait for a GPU."""
    with torch.inference_mode(False):
        white = torch.tensor((255.0,), device=device)
        mean = torch.tensor(normalization.mean, device=device)
        std = torch.tensor(normalization.std, device=device)
        shape = (1, -1, 1, 1)
        return white.view(shape), mean.view(shape), std.view(shape)


@dataclass(frozen=True)
class Letterbox:
    """Maps images to a square of `size` pixels, and predictions back.

    Attributes:
        size: side S of the square, in pixels.
        normalization: of the backbone; its mean is the color around an image.
    """

    size: int
    normalization: Normalization = CLIP_NORMALIZATION

    def matrix(self, height: int, width: int) -> NDArray[np.float64]:
        """The map from image to square, (2, 3): image (x, y, 1) to square (x, y). Sizes are in pixels."""
        scale, x, y = self._place(height, width)
        return np.array([[scale, 0, x], [0, scale, y]])

    def inverse(self, height: int, width: int) -> NDArray[np.float64]:
        """The map from square to image, (2, 3): square (x, y, 1) to image (x, y). Sizes are in pixels."""
        scale, x, y = self._place(height, width)
        back = 1 / scale
        across = [back, 0, -x / scale]
        down = [0, back, -y / scale]
        return np.array([across, down])

    def image(self, rgb: NDArray[np.uint8]) -> Tensor:
        """Put an image into the square: bicubic, padded with the backbone's mean color. See `normalized`.

        Args:
            rgb: uint8 (H, W, 3).

        Returns:
            uint8 (S, S, 3).
        """
        matrix = self.matrix(*rgb.shape[:2])
        border = tuple(255 * channel for channel in self.normalization.mean)
        square = self._warp(rgb, matrix, (self.size, self.size), cv2.INTER_CUBIC, border)
        return torch.from_numpy(square)

    def mask(self, mask: NDArray[np.uint8]) -> Tensor:
        """Put a mask (H, W) of 0 and 1 into the square: bilinear, padded with 0; float32 (S, S) in 0..1."""
        matrix = self.matrix(*mask.shape)
        soft = mask.astype(np.float32)
        square = self._warp(soft, matrix, (self.size, self.size), cv2.INTER_LINEAR, (0.0,))
        return torch.from_numpy(square)

    def restore(self, probability: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
        """Bring probabilities back to the image's own pixels: bicubic; apply the threshold afterwards.

        Args:
            probability: float32 (S, S).
            height: of the image, in pixels.
            width: of the image, in pixels.

        Returns:
            float32 (H, W); bicubic interpolation can leave 0..1.

        Raises:
            ValueError: if `probability` is not (S, S).
        """
        if probability.shape != (self.size, self.size):
            raise ValueError(f"the probability map must be {self.size}x{self.size}, this one is {probability.shape}")
        inverse = self.inverse(height, width)
        restored = self._warp(probability, inverse, (width, height), cv2.INTER_CUBIC, (0.0,))
        return np.asarray(restored, dtype=np.float32)

    def _place(self, height: int, width: int) -> tuple[float, float, float]:
        """The scale, and where the image's corner (0, 0) goes: x and y in the square."""
        scale = min(self.size / height, self.size / width)
        left = (self.size - width * scale) / 2
        top = (self.size - height * scale) / 2
        return scale, left, top

    @staticmethod
    def _warp(
        pixels: NDArray[np.uint8] | NDArray[np.float32],
        matrix: NDArray[np.float64],
        size: tuple[int, int],
        flags: int,
        border: tuple[float, ...],
    ) -> NDArray[Any]:
        return np.asarray(cv2.warpAffine(pixels, matrix, size, flags=flags, borderValue=border))
