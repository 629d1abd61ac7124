"""What an import has written, without pictures: objects, the share of pixels inside, empty and full masks.

Used by `barbench data import`, which prints it, and by its `--preview`, which draws some of it.
"""

import statistics
from collections.abc import Sequence
from typing import NamedTuple

from barbench.datasets.references import ReferData, Reference


class MaskCounts(NamedTuple):
    """The masks of a split.

    Attributes:
        objects: number of different ones; expressions of gRefCOCO that mean nothing have none.
        smallest: share of the image's pixels inside the smallest mask; None without objects.
        median: the same of the median.
        largest: the same of the largest.
        empty: number of masks without a pixel.
        full: number of masks that are the whole image.
    """

    objects: int
    smallest: float | None
    median: float | None
    largest: float | None
    empty: int
    full: int


class Example(NamedTuple):
    """A reference to look at, and the data that it is of."""

    data: ReferData
    reference: Reference


def count_masks(data: ReferData, split: str) -> MaskCounts:
    """Count the masks of a split."""
    # Several references may mean one object, which counts once.
    objects = {r.ann_id: share(data, r) for r in data.references if r.split == split and r.targets}
    shares = sorted(objects.values())
    if not shares:
        return MaskCounts(0, None, None, None, 0, 0)
    return MaskCounts(
        objects=len(shares),
        smallest=shares[0],
        median=statistics.median(shares),
        largest=shares[-1],
        empty=shares.count(0.0),
        full=shares.count(1.0),
    )


def warnings_of(data: ReferData) -> list[str]:
    """What is odd about a data set, in words: the reader's problems, full masks, images in train and elsewhere."""
    name = data.partition.name
    lines = [f"warning: {name}: {line}" for line in data.problems.lines()]
    full = [r for r in data.references if r.targets and share(data, r) == 1]
    if full:
        first = f"{full[0].split} reference {full[0].ref_id}"
        lines.append(
            f"warning: {name}: {len(full):,} references have the whole image as their mask, the first is {first}"
        )
    lines += _shared(data)
    return lines


def _shared(data: ReferData) -> list[str]:
    """Evaluation splits with images of train, except where the partition is known for it."""
    trained = {r.image_id for r in data.references if r.split == "train"}
    lines = []
    # Images that train and are evaluated on, unless the partition is known for it.
    for split in data.partition.eval_splits:
        images = {r.image_id for r in data.references if r.split == split}
        both = sorted(images & trained)
        if both and split not in data.partition.leaks:
            first = data.images[both[0]].path.name
            lines.append(
                f"warning: {data.partition.name}: {len(both):,} of {len(images):,} images of {split} are in train too, "
                f"the first is {first}"
            )
    return lines


def share(data: ReferData, reference: Reference) -> float:
    """The share of an image's pixels that are inside what a reference means."""
    image = data.images[reference.image_id]
    return data.annotations[reference.ann_id].area / (image.width * image.height)


def examples(data: Sequence[ReferData], count: int) -> list[Example]:
    """Up to `count` references whose images are there, evenly from the smallest mask to the largest."""
    found = []
    for each in data:
        for reference in each.references:
            if reference.sentences and each.images[reference.image_id].path.is_file():
                found.append(Example(each, reference))
    found.sort(key=lambda example: (share(*example), example.reference.ref_id))
    if len(found) <= count:
        return found
    places = [round(place * (len(found) - 1) / (count - 1)) for place in range(count)]
    return [found[place] for place in places]
