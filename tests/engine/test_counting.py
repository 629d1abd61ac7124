"""Counts of a prediction against a brute force over whole masks: boxes, crowds, objects that overlap."""

from pathlib import Path

import numpy as np
import pytest
import torch

from barbench.datasets.pixels import masks
from barbench.datasets.pixels.images import ImageInfo
from barbench.datasets.pixels.letterbox import Letterbox
from barbench.datasets.references import Annotation, ReferData, Reference, ReferSplit, Sentence
from barbench.datasets.samples import EvalSamples
from barbench.datasets.tokens import TokenIds
from barbench.engine.counting import SCALE, Row, counter, piece_of
from barbench.paper.partitions import PAPER_PARTITIONS

HEIGHT, WIDTH, SQUARE = 30, 40, 40
THRESHOLD = 0.35


class NoTokens:
    """Encodes nothing: counting reads no token."""

    def encode(self, texts: list[str]) -> TokenIds:
        return TokenIds(torch.zeros(len(texts), 1, dtype=torch.long), torch.zeros(len(texts), dtype=torch.bool))


def samples(drawn: dict[int, np.ndarray], categories: dict[int, int], crowds: set[int]) -> EvalSamples:
    """One image; the first two annotations are meant, by one sentence each."""
    annotations = {}
    for ann_id, mask in drawn.items():
        rle = masks.from_mask(mask.astype(np.uint8))
        annotations[ann_id] = Annotation(ann_id, 1, rle, rle.area, categories[ann_id], ann_id in crowds)
    references = tuple(
        Reference(ann_id, ann_id, 1, "thing", "val", (Sentence(ann_id, "it"),), (ann_id,)) for ann_id in list(drawn)[:2]
    )
    images = {1: ImageInfo(1, Path("none.jpg"), WIDTH, HEIGHT, False)}
    partition = PAPER_PARTITIONS.get("refcoco")
    data = ReferData(Path(), partition, references, images, annotations, everything={1: tuple(drawn)})
    return EvalSamples(ReferSplit("val", references, data), Letterbox(SQUARE), NoTokens())  # type: ignore[arg-type]


def random_mask(rng: np.random.Generator) -> np.ndarray:
    """A blob, a few pixels, whole columns (their runs go on in the next column), or nothing."""
    mask = np.zeros((HEIGHT, WIDTH), bool)
    kind = rng.integers(0, 5)
    y, x = rng.integers(0, HEIGHT - 8), rng.integers(0, WIDTH - 8)
    if kind == 0:
        mask[rng.integers(0, HEIGHT, 5), rng.integers(0, WIDTH, 5)] = True
    elif kind == 1:
        mask[:, x : x + 3] = True
        mask[:y, x + 3] = True
    elif kind > 2:
        mask[y : y + rng.integers(2, 20), x : x + rng.integers(2, 20)] = True
        mask &= rng.random(mask.shape) < 0.9
    return mask


def brute(mask: np.ndarray, drawn: dict[int, np.ndarray], categories: dict[int, int], crowds: set[int]) -> list[Row]:
    """All but the control and the confidence, for both expressions."""
    crowd = np.zeros_like(mask)
    for ann_id in crowds:
        crowd |= drawn[ann_id]
    rows = []
    for index, own in enumerate(list(drawn)[:2]):
        rivals = []
        for ann_id, other in drawn.items():
            shared = int((mask & other).sum())
            counts = shared > 0 or categories[ann_id] == categories[own]
            if ann_id != own and ann_id not in crowds and other.any() and counts:
                rivals.append((ann_id, shared))
        union = int((mask | drawn[own]).sum())
        rows.append(
            Row(index, int((mask & drawn[own]).sum()), union, 0, 0, int((mask & crowd).sum()), 0, 0, tuple(rivals))
        )
    return rows


@pytest.mark.parametrize("seed", range(40))
def test_counts_against_whole_masks(seed: int) -> None:
    rng = np.random.default_rng(seed)
    drawn = {10 + number: random_mask(rng) for number in range(7)}
    categories = {ann_id: int(rng.integers(1, 3)) for ann_id in drawn}
    crowds = {ann_id for ann_id in list(drawn)[2:] if rng.random() < 0.3}
    split = samples(drawn, categories, crowds)
    count = counter(split, THRESHOLD)
    for _ in range(3):
        probability = np.where(np.pad(random_mask(rng), ((5, 5), (0, 0))), 0.9, 0.1).astype(np.float32)
        restored = split.letterbox.restore(probability, HEIGHT, WIDTH)
        mask = restored > THRESHOLD
        for index, expected in enumerate(brute(mask, drawn, categories, crowds)):
            found = count(index, probability)
            partner = split.partner(index)
            assert (found.control_union >= 0) == (partner is not None)
            if partner is not None:
                other = drawn[partner.ann_id]
                assert found.control_intersection == (mask & other).sum()
                assert found.control_union == (mask | other).sum()
            assert found.peak == round(SCALE * min(1.0, float(restored.max())))
            inside = float(restored[mask].astype(np.float64).mean()) if mask.any() else 0.0
            assert found.mean_inside == round(SCALE * min(1.0, inside))
            same = expected._replace(
                control_intersection=found.control_intersection,
                control_union=found.control_union,
                peak=found.peak,
                mean_inside=found.mean_inside,
            )
            assert found == same


def test_the_box_of_a_mask_without_pixels_is_empty() -> None:
    assert piece_of(np.zeros((4, 5), bool)).pixels.size == 0
