"""Laws that hold for every size, mask and coordinate: the letterbox has an inverse, masks agree with pycocotools."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as coco

from barbench.datasets.pixels.letterbox import Letterbox
from barbench.datasets.pixels.masks import encode, from_mask
from tests.datasets.refer_folder import runs as runs_of

sides = st.integers(1, 700)
small = st.integers(1, 24)
quick = settings(max_examples=100, deadline=None, derandomize=True, database=None)


@quick
@given(height=sides, width=sides, size=st.integers(16, 512), x=st.floats(-50, 800), y=st.floats(-50, 800))
def test_the_letterbox_and_its_inverse_compose_to_the_identity(
    height: int, width: int, size: int, x: float, y: float
) -> None:
    box = Letterbox(size)
    there, back = (np.vstack([m, [0, 0, 1]]) for m in (box.matrix(height, width), box.inverse(height, width)))
    point = np.array([x, y, 1])
    np.testing.assert_allclose(back @ there @ point, point, atol=1e-9 * max(height, width, size))
    np.testing.assert_allclose(there @ back @ point, point, atol=1e-9 * max(height, width, size))
    corners = there @ np.array([[0, width, 0, width], [0, 0, height, height], [1, 1, 1, 1]])
    assert corners[:2].min() >= -1e-9
    assert corners[:2].max() <= size + 1e-9, "the whole image is inside"


@quick
@given(height=st.integers(24, 90), width=st.integers(24, 90), data=st.data())
def test_a_rectangle_survives_the_letterbox_and_the_way_back(height: int, width: int, data: st.DataObject) -> None:
    """Enlarged and back at a threshold of one half, only the pixels at an edge can change."""
    top, left = data.draw(st.integers(0, height - 10)), data.draw(st.integers(0, width - 10))
    mask = np.zeros((height, width), np.uint8)
    mask[top : top + data.draw(st.integers(8, 60)), left : left + data.draw(st.integers(8, 60))] = 1
    box = Letterbox(2 * max(height, width))
    again = box.restore(box.mask(mask).numpy(), height, width) > 0.5
    inner = mask.copy()
    for axis in (0, 1):
        inner &= np.roll(mask, 1, axis) & np.roll(mask, -1, axis)
    assert again[inner > 0].all()
    grown = mask.copy()
    for axis in (0, 1):
        grown |= np.roll(grown, 1, axis) | np.roll(grown, -1, axis)
    assert not again[grown == 0].any()


coordinates = st.floats(-3, 30, allow_nan=False).map(lambda v: round(v, 2))
part = st.lists(coordinates, min_size=6, max_size=16).map(lambda p: p[: len(p) // 2 * 2])
parts = st.lists(part, min_size=1, max_size=3)


@quick
@given(height=small, width=small, polygons=parts)
def test_polygons_agree_with_pycocotools(height: int, width: int, polygons: list[list[float]]) -> None:
    code = coco.merge(coco.frPyObjects(polygons, height, width))
    ours = encode(polygons, height, width).rle
    np.testing.assert_array_equal(ours.decode(), coco.decode(code))
    assert ours.area == int(coco.area(code))


@quick
@given(mask=arrays(np.uint8, st.tuples(small, small), elements=st.integers(0, 1)))
def test_run_lengths_agree_with_pycocotools_and_with_counting(mask: np.ndarray) -> None:
    height, width = mask.shape
    code = coco.encode(np.asfortranarray(mask))
    counted = {"size": [height, width], "counts": runs_of(mask)}
    compressed = {"size": [height, width], "counts": code["counts"].decode()}
    for segmentation in (counted, compressed):
        rle = encode(segmentation, height, width).rle
        np.testing.assert_array_equal(rle.decode(), mask)
        assert rle.counts == code["counts"] == from_mask(mask).counts
        assert rle.area == mask.sum()
