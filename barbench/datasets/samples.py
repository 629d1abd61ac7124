"""What a model is fed: one reference per training sample, one expression per evaluation sample. Used by `barbench
run`."""

import hashlib
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate, chain, groupby
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset

from barbench.datasets.expression_kinds import kind
from barbench.datasets.letterbox_cache import LetterboxCache
from barbench.datasets.pixels import masks
from barbench.datasets.pixels.letterbox import Letterbox
from barbench.datasets.references import NO_CATEGORY, Reference, ReferSplit, Sentence
from barbench.datasets.tokens import Tokens


class TrainBatch(NamedTuple):
    """A batch of references.

    Attributes:
        images: uint8 (B, S, S, 3) RGB.
        ids: int64 (B, L) token ids.
        masks: float32 (B, S, S) in 0..1, or (B, *grid) where the samples have one.
        indices: of the samples in the dataset.
    """

    images: Tensor
    ids: Tensor
    masks: Tensor
    indices: list[int]


class EvalBatch(NamedTuple):
    """A batch of expressions and their U images, each image once.

    Attributes:
        images: uint8 (U, S, S, 3) RGB.
        rows: int64 (B,): expression i belongs to images[rows[i]].
        ids: int64 (B, L) token ids.
        indices: of the samples in the dataset.
    """

    images: Tensor
    rows: Tensor
    ids: Tensor
    indices: list[int]


class Expression(NamedTuple):
    """A sentence with the reference that it belongs to."""

    reference: Reference
    sentence: Sentence


class ExpressionMeta(NamedTuple):
    """What is saved of an expression beside its scores.

    Attributes:
        words: number of blank-separated words.
        height: of the image, in its own pixels.
        width: of the image, in its own pixels.
        area: of the object, in the image's own pixels.
        kind: position in `expression_kinds.KINDS`.
        category_id: of the object, as in the dataset's files; NO_CATEGORY where it has none.
        targets: number of objects that are meant; saved where an expression may mean nothing, since it is 1 elsewhere.
        group: as of the reference; saved where it is not the reference's id.
    """

    sent_id: int
    ref_id: int
    ann_id: int
    image_id: int
    words: int
    height: int
    width: int
    area: int
    kind: int
    category_id: int = NO_CATEGORY
    targets: int = 1
    group: int = -1


def draw(seed: int, epoch: int, ref_id: int, count: int) -> int:
    """Which of its sentences a reference trains on in an epoch: uniform, and reproducible.

    A hash instead of a generator, so that workers, processes and a resumed run agree without shared state.

    Args:
        seed: of the run.
        epoch: counted from 0.
        ref_id: of the reference.
        count: number of its sentences.

    Returns:
        0 ... count - 1.
    """
    digest = hashlib.blake2b(f"{seed}/{epoch}/{ref_id}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) % count


class TrainSamples(Dataset[TrainBatch]):
    """References with a mask, and gRefCOCO's that mean nothing; each epoch draws one sentence of each.

    A list of indices gives a batch.

    Args:
        split: what to train on.
        letterbox: to the model's square.
        tokens: to token ids.
        seed: of the sentences drawn.
        cache: folder of letterboxed images; None for none.
        grid: height and width of the masks, resized by nearest neighbour as the loss would; None for the square.
    """

    def __init__(
        self,
        split: ReferSplit,
        letterbox: Letterbox,
        tokens: Tokens,
        seed: int,
        cache: Path | None = None,
        grid: tuple[int, int] | None = None,
    ) -> None:
        self.data = split.data
        self.seed = seed
        self.grid = grid
        self._squares = LetterboxCache(letterbox, cache)
        # References with a mask and words; all their sentences are encoded once, one after the other.
        self.references: list[Reference] = []
        spoken: list[Sentence] = []
        lengths: list[int] = []
        for reference in split.references:
            sentences = [sentence for sentence in reference.sentences if sentence.text]
            has_mask = self.data.annotations[reference.ann_id].area > 0
            means_nothing = self.data.partition.allows_no_target and not reference.targets
            if sentences and (has_mask or means_nothing):
                self.references.append(reference)
                spoken += sentences
                lengths.append(len(sentences))
        self._ids = _encode(split, spoken, tokens)
        self._starts = [0, *accumulate(lengths)]  # reference i has the rows starts[i] .. starts[i + 1] of ids
        self._epoch = torch.zeros((), dtype=torch.long)
        self._epoch.share_memory_()  # type: ignore[no-untyped-call]  # so that persistent workers see it change

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose sentences are drawn; call it before the epoch's iteration begins."""
        self._epoch.fill_(epoch)

    def __len__(self) -> int:
        return len(self.references)

    def __getitem__(self, indices: list[int]) -> TrainBatch:
        # What the loader needs of each: its image, its mask, and the row of the sentence that is drawn.
        epoch = int(self._epoch)
        infos = []
        rles = []
        rows = []
        for index in indices:
            reference = self.references[index]
            infos.append(self.data.images[reference.image_id])
            rles.append(self.data.annotations[reference.ann_id].rle)
            rows.append(self._row(index, epoch))
        images = self._squares.images(infos)
        masks = self._squares.masks(rles)
        if self.grid is not None:
            masks = F.interpolate(masks[:, None], self.grid, mode="nearest")[:, 0]
        return TrainBatch(images, self._ids[rows], masks, indices)

    def _row(self, index: int, epoch: int) -> int:
        """Row of `_ids` of the sentence that `epoch` trains on."""
        start = self._starts[index]
        count = self._starts[index + 1] - start
        return start + draw(self.seed, epoch, self.references[index].ref_id, count)


class JointSamples(Dataset[TrainBatch]):
    """The samples of several datasets, one dataset after the other: an object has one sample per dataset that refers to
    it.

    Args:
        parts: one per dataset, at least one.
    """

    def __init__(self, parts: Sequence[TrainSamples]) -> None:
        self.parts = tuple(parts)
        self._ends = list(accumulate(len(part) for part in parts))

    @property
    def references(self) -> list[Reference]:
        """The references of all parts, in order."""
        return list(chain.from_iterable(part.references for part in self.parts))

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose sentences are drawn; call it before the epoch's iteration begins."""
        for part in self.parts:
            part.set_epoch(epoch)

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, indices: list[int]) -> TrainBatch:
        if len(self.parts) == 1:
            return self.parts[0][indices]
        singles = [self._single(index) for index in indices]
        images = torch.cat([single.images for single in singles])
        ids = torch.cat([single.ids for single in singles])
        masks = torch.cat([single.masks for single in singles])
        return TrainBatch(images, ids, masks, indices)

    def _single(self, index: int) -> TrainBatch:
        number = bisect_right(self._ends, index)
        part = self.parts[number]
        start = self._ends[number] - len(part)
        return part[[index - start]]


class EvalSamples(Dataset[EvalBatch]):
    """Every expression of a split once, ordered by (image_id, ref_id, sent_id). A list of indices gives a batch.

    Args:
        split: what to evaluate on.
        letterbox: to the model's square.
        tokens: to token ids.
        cache: folder of letterboxed images; None for none.
    """

    def __init__(self, split: ReferSplit, letterbox: Letterbox, tokens: Tokens, cache: Path | None = None) -> None:
        self.data = split.data
        self.letterbox = letterbox
        self._squares = LetterboxCache(letterbox, cache)
        self.expressions: list[Expression] = []
        for reference in split.references:
            self.expressions += [Expression(reference, sentence) for sentence in reference.sentences]
        self.expressions.sort(key=_by_image)
        self._ids = _encode(split, [expression.sentence for expression in self.expressions], tokens)
        # The references of each image in the order of their ids, from all splits.
        self._neighbors: dict[int, list[Reference]] = {}
        for reference in sorted(split.data.references, key=lambda reference: reference.ref_id):
            self._neighbors.setdefault(reference.image_id, []).append(reference)

    def __len__(self) -> int:
        return len(self.expressions)

    def batches(self, indices: Sequence[int], size: int) -> list[list[int]]:
        """Cut indices in the samples' order into batches of at most `size`, between two images where possible."""
        cut: list[list[int]] = []
        for _, group in groupby(indices, key=lambda index: self.expressions[index].reference.image_id):
            whole = list(group)
            for start in range(0, len(whole), size):
                part = whole[start : start + size]
                if not cut or len(cut[-1]) + len(part) > size:
                    cut.append([])
                cut[-1] += part
        return cut

    def __getitem__(self, indices: list[int]) -> EvalBatch:
        # Each image once, in the order of the first expression about it.
        places: dict[int, int] = {}  # of each image in the batch
        rows = []
        for index in indices:
            image_id = self.expressions[index].reference.image_id
            rows.append(places.setdefault(image_id, len(places)))
        images = self._squares.images([self.data.images[image_id] for image_id in places])
        return EvalBatch(images, torch.tensor(rows), self._ids[indices], indices)

    def partner(self, index: int) -> Reference | None:
        """A reference to another object of the same image: the control for "is language used?".

        It is the image's next reference in cyclic order of ref_id that has another annotation and another, non-empty
        mask. A model that ignores the words scores as well on it as on the target. The reference may be of another
        split: google's partition divides an image's objects, so that few have a neighbour in their own split. In
        gRefCOCO, where masks of several objects may share some, it has no pixel of the target, and an expression that
        means nothing has no partner: there is no target to compare with.

        Args:
            index: of an expression.

        Returns:
            The reference, or None if the image has no other object.
        """
        own = self.expressions[index].reference
        several = self.data.partition.allows_no_target
        if several and not own.targets:
            return None
        annotations = self.data.annotations
        target = annotations[own.ann_id].rle
        group = self._neighbors[own.image_id]
        at = group.index(own)
        # From the next reference on, around to the one before.
        for other in group[at + 1 :] + group[:at]:
            rle = annotations[other.ann_id].rle
            if other.ann_id == own.ann_id or rle.area == 0 or rle == target:
                continue
            if not several or masks.disjoint(rle, target):
                return other
        return None

    def meta(self, index: int) -> ExpressionMeta:
        """Ids, sizes and kind of the expression with this index."""
        reference, sentence = self.expressions[index]
        info = self.data.images[reference.image_id]
        annotation = self.data.annotations[reference.ann_id]
        return ExpressionMeta(
            sent_id=sentence.sent_id,
            ref_id=reference.ref_id,
            ann_id=reference.ann_id,
            image_id=reference.image_id,
            words=len(sentence.text.split()),
            height=info.height,
            width=info.width,
            area=annotation.area,
            kind=kind(sentence.text),
            category_id=annotation.category_id,
            targets=len(reference.targets),
            group=reference.group,
        )


def _encode(split: ReferSplit, sentences: list[Sentence], tokens: Tokens) -> Tensor:
    """int64 (N, L): the token ids of sentences, each text tokenized once; sentences that were cut are noted as
    problems."""
    rows: dict[str, int] = {}
    for sentence in sentences:
        rows.setdefault(sentence.text, len(rows))
    ids, truncated = tokens.encode(list(rows))
    chosen = []
    for sentence in sentences:
        row = rows[sentence.text]
        chosen.append(row)
        if truncated[row]:
            split.data.problems.note("expression longer than the context", f"{split.name} sentence {sentence.sent_id}")
    return ids[torch.tensor(chosen, dtype=torch.long)]


def _by_image(expression: Expression) -> tuple[int, int, int]:
    reference, sentence = expression
    return reference.image_id, reference.ref_id, sentence.sent_id
