"""What a mask's file is: indices, labels, soft or lossy values, transparency."""

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFilter

from barbench.datasets.importers.mask_file import decode_mask
from tests.datasets.importers.small_table import AREA, mask

LABELS = np.zeros((40, 60), np.uint8)
LABELS[5:20, 5:25] = 1
LABELS[5:20, 30:50] = 2
LABELS[22:35, 10:40] = 3
AREAS = [300, 300, 390]


def stored(image: Any, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(file, kind, **options)
    return file.getvalue()


def palette(colors: list[tuple[int, int, int]]) -> bytes:
    image = Image.fromarray(LABELS)
    image.putpalette([value for color in colors for value in color] + [0] * (768 - 3 * len(colors)))
    return stored(image)


def colored(*colors: tuple[int, int, int], values: np.ndarray = LABELS) -> np.ndarray:
    """Each value as a color, without a palette."""
    return np.array(colors, np.uint8)[values]


@pytest.mark.parametrize(
    "colors",
    [[(0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0)], [(255, 255, 255), (0, 0, 0), (128, 0, 0), (0, 0, 128)]],
)
def test_a_palette_is_read_by_its_indices(colors: list[tuple[int, int, int]]) -> None:
    data = palette(colors)
    assert [int(decode_mask(data, "m", value).sum()) for value in (1, 2, 3)] == AREAS
    assert int(decode_mask(data, "m").sum()) == sum(AREAS)
    assert int(decode_mask(data, "m", "any").sum()) == sum(AREAS)


@pytest.mark.parametrize("quality", [30, 75, 95])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_jpeg_has_the_pixels_that_it_had_before(quality: int, mode: str) -> None:
    data = stored(Image.fromarray(mask()).convert(mode), "JPEG", quality=quality)
    np.testing.assert_array_equal(decode_mask(data, "m.jpg"), mask() > 0)


def test_the_noise_of_a_jpeg_that_was_saved_as_png() -> None:
    noisy = np.array(Image.open(io.BytesIO(stored(mask(), "JPEG", quality=75))))
    assert len(np.unique(noisy)) > 8
    np.testing.assert_array_equal(decode_mask(stored(noisy), "m"), mask() > 0)


@pytest.mark.parametrize("radius", [1, 2])
def test_soft_edges_are_cut_half_way(radius: int) -> None:
    soft = Image.fromarray(mask()).filter(ImageFilter.GaussianBlur(radius))
    np.testing.assert_array_equal(decode_mask(stored(soft), "m"), np.array(soft) > 127)
    wide = (np.array(soft).astype(np.uint16) * 257).astype(np.uint16)
    np.testing.assert_array_equal(decode_mask(stored(wide), "m"), np.array(soft) > 127)


def test_overlapping_parts_stay_inside() -> None:
    """CRIS writes 2 * 255 in eight bits where two polygons overlap."""
    parts = mask()
    parts[10:20, 10:20] = 254
    parts[12:15, 12:15] = 253
    assert int(decode_mask(stored(parts), "m").sum()) == AREA


def test_numbers_of_objects_below_white_are_all_inside() -> None:
    assert int(decode_mask(stored(LABELS), "m").sum()) == sum(AREAS)
    assert int(decode_mask(stored(LABELS), "m", 3).sum()) == AREAS[2]
    one_bit = Image.fromarray(mask()).convert("1")
    assert int(decode_mask(stored(one_bit), "m").sum()) == AREA


@pytest.mark.parametrize("labels", [(0, 100, 150, 200), (0, 1, 2, 255), (0, 50, 255, 128)])
def test_label_images_with_large_numbers_ask_which_is_meant(labels: tuple[int, ...]) -> None:
    data = stored(np.array(labels, np.uint8)[LABELS])
    with pytest.raises(ValueError, match=r"m has flat areas of several values .*a column 'value'"):
        decode_mask(data, "m")
    assert int(decode_mask(data, "m", labels[3]).sum()) == AREAS[2]
    assert int(decode_mask(data, "m", "any").sum()) == sum(AREAS)


def test_colors() -> None:
    one = colored((0, 0, 0), (200, 0, 0), (200, 0, 0), (200, 0, 0))
    assert int(decode_mask(stored(one), "m").sum()) == sum(AREAS)
    several = stored(colored((0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0)))
    with pytest.raises(ValueError, match="m has areas of 3 colors beside black"):
        decode_mask(several, "m")
    assert int(decode_mask(several, "m", "any").sum()) == sum(AREAS)
    with pytest.raises(ValueError, match="m has colors, and 'value' needs a mask with one number per pixel"):
        decode_mask(several, "m", 1)


def test_transparency() -> None:
    drawn = mask()
    in_alpha = np.dstack([np.zeros((40, 60, 3), np.uint8), drawn])
    on_nothing = np.dstack([np.full((40, 60, 3), 255, np.uint8), drawn])
    on_nothing[drawn > 0, :3] = (255, 0, 0)
    opaque = np.dstack([drawn, drawn, drawn, np.full((40, 60), 255, np.uint8)])
    for pixels in (in_alpha, on_nothing, opaque):
        np.testing.assert_array_equal(decode_mask(stored(pixels), "m"), drawn > 0)


def test_what_is_no_mask_is_named() -> None:
    with pytest.raises(ValueError, match=r"largest value is .* nothing but noise"):
        decode_mask(stored(LABELS * 8, "JPEG"), "m")
    with pytest.raises(ValueError, match="m is a JPEG, which changes numbers of objects"):
        decode_mask(stored(LABELS, "JPEG"), "m", 2)
    with pytest.raises(ValueError, match="the mask m is no image that can be read, it is a numpy array"):
        decode_mask(b"\x93NUMPY\x01\x00", "m")
