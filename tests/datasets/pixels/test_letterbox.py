"""The letterbox against torch's grid_sample, an independent bicubic on the same grid, and against itself and back."""

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from barbench.datasets.pixels.letterbox import Letterbox, normalized
from barbench.spec.backbone import CLIP_NORMALIZATION, Normalization

SIZES = [(120, 200, 96), (200, 120, 96), (50, 40, 96), (64, 64, 64), (427, 640, 416)]  # height, width, square


def released_matrices(height: int, width: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """`getTransformMat` of the released CRIS/ETRIS code: three corners to three corners."""
    scale = min(size / height, size / width)
    new_h, new_w = height * scale, width * scale
    x, y = (size - new_w) / 2, (size - new_h) / 2
    source = np.array([[0, 0], [width, 0], [0, height]], np.float32)
    target = np.array([[x, y], [new_w + x, y], [x, new_h + y]], np.float32)
    return cv2.getAffineTransform(source, target), cv2.getAffineTransform(target, source)


def sample(pixels: Tensor, back: np.ndarray, height: int, width: int, mode: str) -> Tensor:
    """(C, H, W) read at `back` (2, 3) of every pixel of a height x width result; zeros outside."""
    y, x = np.mgrid[0:height, 0:width]
    at = np.stack([x, y, np.ones_like(x)], -1) @ back.T
    limits = np.array([pixels.shape[2] - 1, pixels.shape[1] - 1])
    grid = torch.from_numpy(2 * at / limits - 1)[None]
    return F.grid_sample(pixels[None].double(), grid, mode=mode, padding_mode="zeros", align_corners=True)[0]


def smooth(height: int, width: int, channels: int) -> np.ndarray:
    noise = np.random.default_rng(0).integers(0, 256, (height, width, channels)).astype(np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), 3).reshape(height, width, channels)


@pytest.mark.parametrize(("height", "width", "size"), SIZES)
def test_matrices_are_the_released_ones_and_inverse(height: int, width: int, size: int) -> None:
    box = Letterbox(size)
    forward, back = released_matrices(height, width, size)
    np.testing.assert_allclose(box.matrix(height, width), forward, atol=1e-4)
    np.testing.assert_allclose(box.inverse(height, width), back, atol=1e-4)
    square = [np.vstack([m, [0, 0, 1]]) for m in (box.matrix(height, width), box.inverse(height, width))]
    np.testing.assert_allclose(square[0] @ square[1], np.eye(3), atol=1e-12)


@pytest.mark.parametrize(("height", "width", "size"), SIZES)
def test_image_equals_grid_sample(height: int, width: int, size: int) -> None:
    rgb, box = smooth(height, width, 3), Letterbox(size)
    mean = torch.tensor(CLIP_NORMALIZATION.mean).view(3, 1, 1)
    border = (mean.double() * 255).round()  # the padding is a colour of 8 bits
    pixels = torch.from_numpy(rgb).permute(2, 0, 1).double() - border
    due = (sample(pixels, box.inverse(height, width), size, size, "bicubic") + border).clamp(0, 255)
    got = box.image(rgb)
    assert got.shape == (size, size, 3)
    assert got.dtype == torch.uint8
    assert (got.permute(2, 0, 1) - due).abs().max() < 0.51, "no more than the rounding to 8 bits"


def test_normalized_is_clips_for_every_colour() -> None:
    """Bit for bit what torchvision's ToTensor and Normalize give, in numpy's words."""
    colours = np.arange(256, dtype=np.uint8)
    squares = torch.from_numpy(np.stack([colours, colours[::-1], np.roll(colours, 7)], -1)).view(1, 16, 16, 3)
    mean, std = np.array(CLIP_NORMALIZATION.mean, np.float32), np.array(CLIP_NORMALIZATION.std, np.float32)
    due = (squares.numpy().astype(np.float32) / 255 - mean) / std
    got = normalized(squares, CLIP_NORMALIZATION)
    assert got.shape == (1, 3, 16, 16)
    assert got.is_contiguous()
    np.testing.assert_array_equal(got.numpy(), due.transpose(0, 3, 1, 2))


@pytest.mark.parametrize(("height", "width", "size"), SIZES)
def test_mask_equals_grid_sample(height: int, width: int, size: int) -> None:
    mask = (smooth(height, width, 1)[..., 0] > 127).astype(np.uint8)
    got = Letterbox(size).mask(mask)
    due = sample(torch.from_numpy(mask)[None], Letterbox(size).inverse(height, width), size, size, "bilinear")[0]
    assert got.shape == (size, size)
    assert got.dtype == torch.float32
    assert (got - due).abs().max() < 0.05, "OpenCV places samples on a grid of 1/32 pixel"
    assert (got - due).abs().mean() < 2e-3


@pytest.mark.parametrize(("height", "width", "size"), SIZES)
def test_restore_equals_grid_sample(height: int, width: int, size: int) -> None:
    probability = smooth(size, size, 1)[..., 0].astype(np.float32) / 255
    got = Letterbox(size).restore(probability, height, width)
    due = sample(torch.from_numpy(probability)[None], Letterbox(size).matrix(height, width), height, width, "bicubic")[
        0
    ]
    assert got.shape == (height, width)
    assert got.dtype == np.float32
    assert np.abs(got - due.numpy()).max() < 0.02


@pytest.mark.parametrize(("height", "width", "size"), SIZES)
def test_there_and_back(height: int, width: int, size: int) -> None:
    """Blobs of the size of objects survive the round trip; a shift of half a pixel would not pass."""
    y, x = np.mgrid[0:height, 0:width]
    radius = min(height, width) / 4
    mask = ((x - width * 0.6) ** 2 + (y - height * 0.5) ** 2 < radius**2).astype(np.uint8)
    back = Letterbox(size).restore(Letterbox(size).mask(mask).numpy(), height, width) > 0.5
    union = (back | (mask == 1)).sum()
    assert (back & (mask == 1)).sum() / union > 0.97


def test_coordinates_come_back() -> None:
    """A ramp of x in the square, restored, gives each pixel's x there, to a twentieth: the cubic has a = -0.75."""
    height, width, size = 90, 150, 96
    x = np.tile(np.arange(size, dtype=np.float32), (size, 1))
    scale, _, offset = Letterbox(size).matrix(height, width)[0]
    inner = np.s_[5:-5, 5:-5]
    due = np.tile(scale * np.arange(width) + offset, (height, 1))
    np.testing.assert_allclose(Letterbox(size).restore(x, height, width)[inner], due[inner], atol=1 / 20)


@pytest.mark.parametrize("chosen", [CLIP_NORMALIZATION, Normalization((0.2, 0.4, 0.6), (0.1, 0.2, 0.3))])
def test_padding_is_zero_after_normalization(chosen: Normalization) -> None:
    white = np.full((20, 80, 3), 255, np.uint8)
    got = normalized(Letterbox(64, chosen).image(white)[None], chosen)[0]
    assert got[:, :20].abs().max() < 0.01
    assert got[:, -20:].abs().max() < 0.01
    assert Letterbox(64).mask(white[..., 0] // 255)[:20].max() == 0


def test_restore_wants_its_own_square() -> None:
    with pytest.raises(ValueError, match="96x96"):
        Letterbox(96).restore(np.zeros((24, 24), np.float32), 50, 50)
