"""Photos of every kind, written by Pillow, and what becomes of them."""

import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from barbench.datasets.pixels import photo
from barbench.datasets.pixels.images import ImageInfo, decode_image
from barbench.datasets.pixels.photo import read_photo, smoothed
from barbench.errors import DataError

RNG = np.random.default_rng(0)
COLOURS = RNG.integers(0, 256, (6, 9, 3)).astype(np.uint8)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "photo.png"


def test_a_plain_photo_is_as_it_is(path: Path) -> None:
    Image.fromarray(COLOURS).save(path)
    assert np.array_equal(read_photo(path), COLOURS)


def test_a_photo_stands_as_its_exif_says(tmp_path: Path) -> None:
    """6: the camera was turned, so that what is stored must be turned clockwise by a quarter."""
    exif = Image.Exif()
    exif[0x0112] = 6
    for kind in ("png", "webp"):
        Image.fromarray(COLOURS).save(tmp_path / f"p.{kind}", exif=exif, lossless=True)
        assert np.array_equal(read_photo(tmp_path / f"p.{kind}"), np.rot90(COLOURS, -1))


def test_gray_of_eight_and_of_sixteen_bits(path: Path) -> None:
    gray = COLOURS[..., 0]
    Image.fromarray(gray).save(path)
    expected = np.repeat(gray[..., None], 3, axis=2)
    assert np.array_equal(read_photo(path), expected)
    Image.fromarray(gray.astype(np.uint16) * 257).save(path)
    assert np.array_equal(read_photo(path), expected)


def test_what_is_transparent_is_white(path: Path) -> None:
    alpha = np.full((6, 9, 1), 255, np.uint8)
    alpha[0], alpha[1] = 0, 128
    Image.fromarray(np.concatenate([COLOURS, alpha], 2)).save(path)
    found = read_photo(path)
    assert (found[0] == 255).all()
    assert np.abs(found[1] - (COLOURS[1] * (128 / 255) + 127)).max() < 1.5
    assert np.array_equal(found[2:], COLOURS[2:])


def test_palettes_cmyk_and_the_first_frame(tmp_path: Path) -> None:
    base = Image.fromarray(COLOURS)
    base.convert("P", palette=Image.Palette.ADAPTIVE, colors=256).save(tmp_path / "p.gif", transparency=0)
    base.convert("CMYK").save(tmp_path / "p.tif")
    base.save(tmp_path / "a.png", save_all=True, append_images=[Image.new("RGB", base.size)])
    for name in ("p.gif", "p.tif", "a.png"):
        assert read_photo(tmp_path / name).shape == COLOURS.shape
    assert np.array_equal(read_photo(tmp_path / "a.png"), COLOURS)


def test_what_cannot_be_read_is_named(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match=f"{path}: no such photo"):
        read_photo(path)
    with pytest.raises(DataError, match="cannot be read"):
        read_photo(path.parent)
    path.write_text("a letter")
    with pytest.raises(DataError, match="is not an image"):
        read_photo(path)
    Image.fromarray(RNG.integers(0, 256, (64, 64, 3)).astype(np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:6000])
    with pytest.raises(DataError, match="cannot be read as an image"):
        read_photo(path)
    Image.fromarray(COLOURS).save(path)
    monkeypatch.setattr(photo, "MAX_PIXELS", 53)
    with pytest.raises(DataError, match="9x6 pixels; at most 53"):
        read_photo(path)


def test_smoothing_takes_away_what_a_square_cannot_hold() -> None:
    board = np.indices((400, 300)).sum(0) % 2 * 255
    pixels = np.repeat(board[..., None], 3, axis=2).astype(np.uint8)
    assert smoothed(pixels, 200) is pixels
    flat = smoothed(pixels, 50)
    assert flat.shape == pixels.shape
    assert np.abs(flat.astype(int) - 127).max() <= 2
    steps = np.repeat(np.arange(0, 200, 50), 100).astype(np.uint8)[:, None, None] * np.ones((1, 300, 3), np.uint8)
    assert np.abs(smoothed(steps, 50).astype(int)[40:60] - steps[40:60]).max() <= 1, "what is large stays"


@pytest.mark.parametrize("shape", [(400, 300), (401, 77), (700, 699), (900, 20), (300, 400)])
def test_a_tall_photo_is_blurred_as_opencv_does(shape: tuple[int, int]) -> None:
    pixels = RNG.integers(0, 256, (*shape, 3), dtype=np.uint8)
    expected = cv2.GaussianBlur(pixels, (0, 0), sigmaX=max(shape) / 80)
    assert np.array_equal(smoothed(pixels, 20), expected)


def test_a_tall_panorama_takes_as_long_as_a_wide_one() -> None:
    wide = RNG.integers(0, 256, (100, 8000, 3), dtype=np.uint8)
    seconds = []
    for panorama in (wide, np.ascontiguousarray(wide.swapaxes(0, 1))):
        begun = time.process_time()
        smoothed(panorama, 32)
        seconds.append(time.process_time() - begun)
    assert seconds[1] < 3 * seconds[0], seconds


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "a HEIC photo: save it as JPEG"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "a HEIC photo: save it as JPEG"),
        (b"\0\0\0\x18ftypisom", "a video"),
        (b"\0\0\0\x18ftypcrx ", "a raw photo of a camera"),
        (b"\xff\x0a" + bytes(9), "a JPEG XL image"),
        (b"%PDF-1.7", "a PDF"),
        (b"PK\x03\x04", "a zip archive"),
        (b"\x93NUMPY\1\0", "a numpy array"),
        (b" \n<!DOCTYPE html>", "a web page"),
        (b"<svg xmlns=", "an SVG drawing"),
        (
            b"version https://git-lfs.github.com/spec/v1\n",
            "a Git LFS pointer: fetch the file itself with `git lfs pull`",
        ),
        (b"", "an empty file"),
    ],
)
def test_what_is_no_image_is_named_as_what_it_is(content: bytes, says: str, tmp_path: Path) -> None:
    (tmp_path / "p.jpg").write_bytes(content)
    with pytest.raises(DataError, match=f"is not an image that can be read: it is {says}"):
        read_photo(tmp_path / "p.jpg")
    with pytest.raises(DataError, match=f"neither a JPEG nor a PNG but {says}"):
        decode_image(ImageInfo(1, tmp_path / "p.jpg", 3, 3))
