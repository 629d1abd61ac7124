"""Counts the pixels of a prediction: with its object, with another one, and with whatever else the image holds.

Each mask is cut to a box around it, and two masks are compared where their boxes meet: the other objects of an image
then cost less time than comparing whole images with one object did.
"""

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Final, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from barbench.datasets.pixels import masks
from barbench.datasets.references import NO_CATEGORY, Annotation, ReferData
from barbench.datasets.samples import EvalSamples
from barbench.engine.predict import above

SCALE: Final = 65_535
"""What stands for a probability of 1 in the columns `peak` and `mean_inside`."""
UNKNOWN: Final = -1
"""In place of a count, where there is nothing to count or where it is not known what there is."""
_IMAGES: Final = 8
"""Of how many images the masks are kept: the expressions of an image follow one another."""


class Row(NamedTuple):
    """What is counted of one expression, in pixels of the image.

    Attributes:
        place: of the expression in the samples.
        intersection: of the prediction with the object that is meant.
        union: of the two.
        control_intersection: of the prediction with another object of the image, UNKNOWN without one.
        control_union: of the two.
        crowd_intersection: of the prediction with the image's crowds, UNKNOWN where these are not known.
        peak: the largest probability in the image, times SCALE.
        mean_inside: mean probability of the predicted pixels, times SCALE; 0 without any.
        rivals: id of an annotation, and its intersection with the prediction; see `rivals_of`.
        mask: the prediction as COCO's compressed run lengths; empty where it is not kept.
    """

    place: int
    intersection: int
    union: int
    control_intersection: int
    control_union: int
    crowd_intersection: int
    peak: int
    mean_inside: int
    rivals: tuple[tuple[int, int], ...] = ()
    mask: bytes = b""


Count = Callable[[int, NDArray[np.float32]], Row]


class Piece(NamedTuple):
    """A mask inside a box around it: the box's corner, and its pixels (height, width), True inside the mask."""

    left: int
    top: int
    pixels: NDArray[np.bool_]


def counter(samples: EvalSamples, threshold: float, keep_masks: bool = False) -> Count:
    """The function from an expression's index and its probabilities (S, S) on the model's square to its counts."""
    data = samples.data
    none_below = data.partition.none_below or 0

    @lru_cache(maxsize=_IMAGES)
    def image_masks(image_id: int) -> _ImageMasks:
        return _ImageMasks(data, image_id)

    def count(index: int, probability: NDArray[np.float32]) -> Row:
        reference = samples.expressions[index].reference
        image = data.images[reference.image_id]
        # The prediction in the pixels of the image itself.
        restored = samples.letterbox.restore(probability, image.height, image.width)
        whole = above(restored, threshold, none_below)
        predicted = piece_of(whole)
        size = int(np.count_nonzero(predicted.pixels))
        found = image_masks(reference.image_id)

        # The object that is meant, and the one of the control.
        meant = found.intersection(predicted, reference.ann_id)
        partner = samples.partner(index)
        control = (UNKNOWN, UNKNOWN)
        if partner is not None:
            other = found.intersection(predicted, partner.ann_id)
            control = (other, size + data.annotations[partner.ann_id].area - other)

        # Confidence: what lies inside the prediction is above everything outside it.
        height, width = predicted.pixels.shape
        inside = restored
        mean_inside = 0.0
        if size:
            inside = restored[predicted.top : predicted.top + height, predicted.left : predicted.left + width]
            mean_inside = cv2.mean(inside, predicted.pixels.view(np.uint8))[0]
        peak = float(inside.max())

        return Row(
            index,
            meant,
            size + data.annotations[reference.ann_id].area - meant,
            *control,
            found.crowd_intersection(predicted),
            _scaled(peak),
            _scaled(mean_inside),
            tuple(found.rivals(predicted, reference.ann_id)),
            masks.from_mask(whole.view(np.uint8)).counts if keep_masks else b"",
        )

    return count


def rivals_of(data: ReferData, ann_id: int) -> list[Annotation]:
    """What a prediction may show in place of an object: the image's other annotations, of any category, that have
    pixels and are no crowd, in the file's order."""
    image_id = data.annotations[ann_id].image_id
    others = []
    for other in data.everything.get(image_id, ()):
        annotation = data.annotations[other]
        if other != ann_id and annotation.area > 0 and not annotation.crowd:
            others.append(annotation)
    return others


def piece_of(mask: NDArray[np.bool_]) -> Piece:
    """Cut a mask (H, W) to the smallest box around it; without pixels inside, to an empty one."""
    left, top, width, height = cv2.boundingRect(mask.view(np.uint8))
    return Piece(left, top, mask[top : top + height, left : left + width])


class _ImageMasks:
    """The masks of one image, each decoded when a prediction first reaches its box."""

    def __init__(self, data: ReferData, image_id: int) -> None:
        self._data = data
        self._known = image_id in data.everything
        self._boxes: dict[int, tuple[int, int, int, int]] = {}
        self._pieces: dict[int, NDArray[np.bool_]] = {}
        self._rivals: dict[int, list[Annotation]] = {}
        # Crowds are no rivals: what of them is shown is counted once.
        crowds = []
        for ann_id in data.everything.get(image_id, ()):
            if data.annotations[ann_id].crowd:
                crowds.append(data.annotations[ann_id].rle)
        self._crowds: masks.Rle | None = None
        if crowds:
            image = data.images[image_id]
            self._crowds = masks.united(crowds, image.height, image.width)

    def intersection(self, predicted: Piece, ann_id: int) -> int:
        """Pixels that a prediction shares with an annotation."""
        return self._shared(predicted, ann_id, self._data.annotations[ann_id].rle)

    def crowd_intersection(self, predicted: Piece) -> int:
        """Pixels that a prediction shares with any crowd; UNKNOWN where it is not known what the image holds."""
        if not self._known:
            return UNKNOWN
        if self._crowds is None:
            return 0
        return self._shared(predicted, _CROWDS, self._crowds)

    def rivals(self, predicted: Piece, ann_id: int) -> Iterator[tuple[int, int]]:
        """The annotations of `rivals_of` with their intersections; of another category only those that the prediction
        meets."""
        if ann_id not in self._rivals:
            self._rivals[ann_id] = rivals_of(self._data, ann_id)
        category = self._data.annotations[ann_id].category_id
        for other in self._rivals[ann_id]:
            shared = self.intersection(predicted, other.ann_id)
            if shared or category == other.category_id != NO_CATEGORY:
                yield other.ann_id, shared

    def _shared(self, predicted: Piece, key: int, rle: masks.Rle) -> int:
        if key not in self._boxes:
            self._boxes[key] = rle.box
        left, top, right, bottom = self._boxes[key]

        # Where the two boxes meet.
        height, width = predicted.pixels.shape
        x0 = max(left, predicted.left)
        y0 = max(top, predicted.top)
        x1 = min(right, predicted.left + width)
        y1 = min(bottom, predicted.top + height)
        if x0 >= x1 or y0 >= y1:
            return 0
        if key not in self._pieces:
            self._pieces[key] = rle.decode()[top:bottom, left:right].astype(np.bool_)
        own = self._pieces[key][y0 - top : y1 - top, x0 - left : x1 - left]
        found = predicted.pixels[y0 - predicted.top : y1 - predicted.top, x0 - predicted.left : x1 - predicted.left]
        return int(np.count_nonzero(own & found))


_CROWDS: Final = -(2**62)
"""The key of all crowds together among annotations' ids."""


def _scaled(probability: float) -> int:
    """A probability as a whole number up to SCALE; bicubic interpolation can leave 0..1."""
    return round(SCALE * min(max(probability, 0.0), 1.0))
