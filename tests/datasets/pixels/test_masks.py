"""Masks against pixels drawn with numpy, and against pycocotools where the input is sound."""

import numpy as np
import pytest
from pycocotools import mask as coco

from barbench.datasets.pixels import masks
from tests.datasets.refer_folder import COMPRESSED, HEIGHT, MASKS, SEGMENTATIONS, WIDTH, box, runs


@pytest.mark.parametrize("ann_id", MASKS)
def test_segmentations_give_the_drawn_pixels(ann_id: int) -> None:
    code, clipped = masks.encode(SEGMENTATIONS[ann_id], HEIGHT, WIDTH)
    np.testing.assert_array_equal(code.decode(), MASKS[ann_id])
    assert code.decode().dtype == np.uint8
    assert code.area == MASKS[ann_id].sum()
    assert not clipped


def test_random_masks_survive_every_kind_of_code() -> None:
    rng = np.random.default_rng(0)
    for _ in range(60):
        height, width = rng.integers(1, 50, 2).tolist()
        mask = (rng.random((height, width)) < rng.random()).astype(np.uint8)
        counts = coco.encode(np.asfortranarray(mask))["counts"]
        for given in (counts, counts.decode(), runs(mask), [*runs(mask), 0, 0]):
            code = masks.encode({"size": [height, width], "counts": given}, height, width).rle
            np.testing.assert_array_equal(code.decode(), mask)
            assert code == masks.from_mask(mask), "equal masks have equal codes"


def test_polygons_agree_with_pycocotools() -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        parts = [rng.uniform(0, 40, 2 * n).tolist() for n in rng.integers(3, 9, 3)]
        code = masks.encode(parts, 40, 40).rle
        oracle = np.max([coco.decode(c) for c in np.atleast_1d(coco.frPyObjects(parts, 40, 40))], axis=0)
        np.testing.assert_array_equal(code.decode(), oracle)


@pytest.mark.parametrize(
    "segmentation",
    [
        {"size": [HEIGHT, WIDTH], "counts": [5, 20]},  # pycocotools would leave the rest uninitialised
        {"size": [HEIGHT, WIDTH], "counts": [5, 5000]},
        {"size": [HEIGHT, WIDTH], "counts": [HEIGHT * WIDTH + 5, -5]},
        {"size": [HEIGHT, WIDTH], "counts": COMPRESSED[:-2]},
        {"size": [HEIGHT, WIDTH], "counts": ""},
        {"size": [WIDTH, HEIGHT], "counts": COMPRESSED},
        {"counts": COMPRESSED},
        {"size": [HEIGHT, WIDTH], "counts": None},
        [[1, 2, 3, 4, 5, 6, 7]],
        [[1, 2, 3, 4, 5, float("nan")]],
        [["a", "b", "c", "d", "e", "f"]],
        [[[1, 2], [3, 4], [5, 6]]],
        "nothing",
        None,
    ],
)
def test_broken_segmentations_are_refused(segmentation: object) -> None:
    with pytest.raises((ValueError, TypeError)):
        masks.encode(segmentation, HEIGHT, WIDTH)


def test_what_lies_outside_is_clipped_and_said() -> None:
    code, clipped = masks.encode([box(30, 20, 30, 30)], HEIGHT, WIDTH)
    assert clipped
    assert code.area == 100
    assert masks.encode([box(-9, -9, 3, 3)], HEIGHT, WIDTH) == (
        masks.from_mask(np.zeros((HEIGHT, WIDTH), np.uint8)),
        True,
    )


@pytest.mark.parametrize("segmentation", [[], [[]], [[1, 1, 5, 5]], [[1, 1], [2, 2, 3, 3]]])
def test_without_three_points_a_mask_is_empty(segmentation: object) -> None:
    assert masks.encode(segmentation, HEIGHT, WIDTH).rle.area == 0
