"""What a REFER folder holds once it is read: references with their sentences, images and masks. Made by
`datasets.refer`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from barbench.datasets.pixels import masks
from barbench.datasets.pixels.images import ImageInfo
from barbench.datasets.problems import Problems
from barbench.errors import DataError
from barbench.paper.partitions import Partition

NO_CATEGORY: Final = -1
"""In place of the category's id, where there is none."""


class Sentence(NamedTuple):
    """One referring expression.

    Attributes:
        sent_id: unique in its partition's references file.
        text: repaired by `pickles.repair_text`; may be empty.
    """

    sent_id: int
    text: str


class Reference(NamedTuple):
    """What the sentences refer to in an image: one object; in gRefCOCO several objects or none, too.

    Attributes:
        ref_id: unique in its partition's references file.
        ann_id: of the mask that is meant: the object's annotation, or the union of several (none: empty), under a
            negative number of its own.
        image_id: COCO's.
        category: the object's; names of several are joined by commas.
        split: train, val, testA, …
        sentences: all that mean the same.
        targets: the objects' annotations.
        group: number that it shares with the references that it is scored together with; of most sets its own id.
    """

    ref_id: int
    ann_id: int
    image_id: int
    category: str
    split: str
    sentences: tuple[Sentence, ...]
    targets: tuple[int, ...] = ()
    group: int = -1


@dataclass(frozen=True)
class Annotation:
    """The mask of one object.

    Attributes:
        rle: a canonical code: equal masks of an image have equal codes.
        area: number of pixels inside.
        category_id: COCO's; NO_CATEGORY where it has none, as the union of several objects.
        crowd: whether it is a crowd, whose objects are not told apart.
    """

    ann_id: int
    image_id: int
    rle: masks.Rle
    area: int
    category_id: int = NO_CATEGORY
    crowd: bool = False


@dataclass(frozen=True)
class ReferData:
    """All splits of one partition. Only the images that some reference uses are kept.

    Attributes:
        references: usable ones, in the file's order.
        images: by image id.
        annotations: by annotation id: those that some reference means, and those of `everything`.
        problems: what is wrong with the files, and what was done about it.
        everything: by image id, the ids of all its annotations, whether a reference means them or not; only of images
            that a split other than train uses.
        categories: names by id.
    """

    root: Path
    partition: Partition
    references: tuple[Reference, ...]
    images: dict[int, ImageInfo]
    annotations: dict[int, Annotation]
    problems: Problems = field(default_factory=Problems)
    everything: dict[int, tuple[int, ...]] = field(default_factory=dict)
    categories: dict[int, str] = field(default_factory=dict)

    def split(self, name: str) -> "ReferSplit":
        """The references of one split, in the file's order.

        Args:
            name: train, val, testA, …

        Returns:
            At least one reference.

        Raises:
            DataError: if the split has no references; the message lists the splits that have some.
        """
        chosen = tuple(r for r in self.references if r.split == name)
        if not chosen:
            held = ", ".join(sorted({r.split for r in self.references})) or "none at all"
            refs_path = self.root / self.partition.folder / self.partition.refs_file
            raise DataError(
                f"{refs_path} has no references of split {name!r}; it "
                f"holds {held}. (Some copies call testA 'test': they are not the public release.)"
            )
        return ReferSplit(name, chosen, self)

    def mask(self, ann_id: int) -> masks.Mask:
        """Decode the mask of one object: uint8 (H, W) in the image's own pixels, 1 inside; nothing is cached."""
        return self.annotations[ann_id].rle.decode()


@dataclass(frozen=True)
class ReferSplit:
    """The references of one split, and the data that they are from."""

    name: str
    references: tuple[Reference, ...]
    data: ReferData
