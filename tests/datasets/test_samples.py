"""Training draws, evaluation order, and the control's other object."""

import pickle
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader

from barbench.datasets import letterbox_cache as module
from barbench.datasets.pixels.images import decode_image
from barbench.datasets.pixels.letterbox import Letterbox
from barbench.datasets.refer import read_refer
from barbench.datasets.references import ReferData, ReferSplit
from barbench.datasets.samples import EvalSamples, ExpressionMeta, TrainSamples, draw
from barbench.datasets.tokens import Tokens
from barbench.errors import DataError
from barbench.models.segmenter import segmentation_loss
from barbench.paper.partitions import Partition
from tests.datasets.refer_folder import MASKS

BOX = Letterbox(32)


@pytest.fixture
def data(root: Path, refcoco: Partition) -> ReferData:
    return read_refer(root, refcoco)


@pytest.fixture
def train(data: ReferData, tokens: Tokens) -> TrainSamples:
    return TrainSamples(data.split("train"), BOX, tokens, seed=0)


@pytest.fixture
def val(data: ReferData, tokens: Tokens) -> EvalSamples:
    return EvalSamples(data.split("val"), BOX, tokens)


def everything(data: ReferData, split: str = "all") -> ReferSplit:
    return ReferSplit(split, data.references, data)


def test_draw_is_pure_and_uniform() -> None:
    drawn = [draw(0, epoch, ref_id, 3) for epoch in range(30) for ref_id in range(300)]
    assert drawn == [draw(0, epoch, ref_id, 3) for epoch in range(30) for ref_id in range(300)]
    # Chi-square with 2 degrees of freedom: 13.8 is exceeded once in a thousand seeds.
    assert sum((n - 3000) ** 2 / 3000 for n in Counter(drawn).values()) < 13.8
    pairs = Counter((draw(0, 0, r, 3), draw(0, 1, r, 3), draw(1, 0, r, 3)) for r in range(9000))
    assert len(pairs) == 27, "epochs and seeds draw independently of one another"
    assert max(pairs.values()) < 1.35 * 9000 / 27


def test_draw_is_frozen() -> None:
    """A changed draw would silently end the comparability of old records with new ones."""
    assert [draw(seed, epoch, 41, 5) for seed in range(2) for epoch in range(6)] == [1, 3, 0, 3, 1, 1, 0, 2, 3, 1, 3, 0]


def test_training_batches(train: TrainSamples, data: ReferData, tokens: Tokens) -> None:
    assert [r.ref_id for r in train.references] == [11, 12, 13]
    batch = train[[0, 2]]
    assert (batch.images.shape, batch.images.dtype) == ((2, 32, 32, 3), torch.uint8)
    assert (batch.masks.shape, batch.masks.dtype) == ((2, 32, 32), torch.float32)
    assert (batch.ids.shape, batch.indices) == ((2, 17), [0, 2])
    for image, mask, index in zip(batch.images, batch.masks, batch.indices, strict=True):
        reference = train.references[index]
        assert torch.equal(image, BOX.image(decode_image(data.images[reference.image_id])))
        assert torch.equal(mask, BOX.mask(MASKS[reference.ann_id]))
    seen = set()
    for epoch in range(40):
        train.set_epoch(epoch)
        first, third = train[[0, 2]].ids
        seen.add(tuple(first.tolist()))
        assert torch.equal(third, tokens(["third"])[0]), "blank sentences are not drawn"
    assert seen == {tuple(row) for row in tokens(["both parts", "two boxes", "left and middle"]).tolist()}


def test_an_empty_mask_is_evaluated_but_not_trained(data: ReferData, tokens: Tokens) -> None:
    split = everything(data)
    assert 91 not in {r.ref_id for r in TrainSamples(split, BOX, tokens, 0).references}
    assert 91 in {e.reference.ref_id for e in EvalSamples(split, BOX, tokens).expressions}


def test_workers_that_persist_give_the_epochs_batches(train: TrainSamples) -> None:
    """What a loader's process fills is what this process would: with the words of the epoch."""
    loader = DataLoader(train, batch_size=None, sampler=[[2, 0], [1]], num_workers=1, persistent_workers=True)
    for epoch in range(4):
        train.set_epoch(epoch)
        for batch, indices in zip(loader, ([2, 0], [1]), strict=True):
            due = train[indices]
            assert batch.indices == indices
            assert all(torch.equal(*pair) for pair in zip(batch[:3], due[:3], strict=True))


def test_truncated_expressions_are_counted(data: ReferData, tokens: Tokens) -> None:
    EvalSamples(data.split("val"), BOX, tokens)
    assert "expression longer than the context" not in data.problems.counts()
    for _ in range(2):
        EvalSamples(data.split("testB"), BOX, tokens)
    assert list(data.problems.found["expression longer than the context"]) == ["testB sentence 410"]


def test_evaluation_covers_every_sentence_once(data: ReferData, tokens: Tokens) -> None:
    split = everything(data)
    shuffled = replace(split, references=split.references[::-1])
    keys = [
        (e.reference.image_id, e.reference.ref_id, e.sentence.sent_id)
        for e in EvalSamples(shuffled, BOX, tokens).expressions
    ]
    assert keys == sorted(keys)
    assert len(keys) == len(set(keys)) == sum(len(r.sentences) for r in data.references)


def test_evaluation_items(val: EvalSamples, tokens: Tokens) -> None:
    assert [e.sentence.text for e in val.expressions] == [
        "café",
        "naïve man",
        "日本 sign",
        "right one",
        "nothing there",
    ]
    batch = val[[0, 2]]
    assert batch.indices == [0, 2]
    assert torch.equal(batch.ids, tokens(["café", "日本 sign"]))
    assert (batch.images.shape, batch.images.dtype) == ((1, 32, 32, 3), torch.uint8)
    assert val.meta(1) == ExpressionMeta(
        211, 21, 104, 9, words=2, height=30, width=40, area=100, kind=0, category_id=1, group=21
    )
    assert val.meta(4).area == 0


def test_a_batch_holds_each_image_once(data: ReferData, tokens: Tokens, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[int] = []
    monkeypatch.setattr(module, "decode_image", lambda info: (opened.append(info.image_id), decode_image(info))[1])
    samples = EvalSamples(everything(data), BOX, tokens)
    batch = samples[list(range(len(samples)))]
    meant = [e.reference.image_id for e in samples.expressions]
    assert sorted(opened) == sorted(set(meant))
    for image_id, row in zip(meant, batch.rows.tolist(), strict=True):
        assert torch.equal(batch.images[row], BOX.image(decode_image(data.images[image_id])))


@pytest.mark.parametrize("size", [1, 2, 3, 4, 64])
def test_batches_are_cut_between_images(size: int, data: ReferData, tokens: Tokens) -> None:
    samples = EvalSamples(everything(data), BOX, tokens)
    share = list(range(1, len(samples)))
    cut = samples.batches(share, size)
    assert [index for batch in cut for index in batch] == share
    assert {len(batch) <= size for batch in cut} == {True}
    meant = [samples.expressions[index].reference.image_id for index in share]
    least = sum(-(-n // size) for n in Counter(meant).values())
    assert sum(len(samples[batch].images) for batch in cut) == least, "no image is cut that fits a batch"
    assert samples.batches([], size) == []


def test_partner_is_another_object_of_the_image(data: ReferData, tokens: Tokens) -> None:
    evals = EvalSamples(everything(data), BOX, tokens)
    for index, (reference, _) in enumerate(evals.expressions):
        partner = evals.partner(index)
        if reference.ref_id in (31, 41):
            assert partner is None
            continue
        assert partner is not None
        assert partner.image_id == reference.image_id
        assert partner.ann_id != reference.ann_id
        assert data.mask(partner.ann_id).any()
        assert (data.mask(partner.ann_id) != data.mask(reference.ann_id)).any()
    by_ref = {e.reference.ref_id: evals.partner(i) for i, e in enumerate(evals.expressions)}
    # The next one in cyclic order; 91 has an empty mask and is nobody's partner.
    assert {a: b.ref_id for a, b in by_ref.items() if b} == {11: 12, 12: 13, 13: 11, 21: 22, 22: 21, 91: 21}


def test_partner_skips_the_same_object_under_other_ids(data: ReferData, tokens: Tokens) -> None:
    first = data.references[0]
    twin = data.annotations[101]
    data.annotations[555] = replace(twin, ann_id=555)
    same = [first._replace(ref_id=11_000), first._replace(ref_id=11_001, ann_id=555)]
    twins = replace(data, references=(first, *same))
    evals = EvalSamples(twins.split("train"), BOX, tokens)
    assert [evals.partner(i) for i in range(len(evals))] == [None] * len(evals)


def test_partner_may_be_of_another_split(data: ReferData, tokens: Tokens) -> None:
    """As in refcocog-g, which divides the objects of an image."""
    divided = replace(data, references=tuple(r._replace(split="x") if r.ref_id == 12 else r for r in data.references))
    evals = EvalSamples(divided.split("x"), BOX, tokens)
    assert [p.ref_id for i in range(len(evals)) if (p := evals.partner(i))] == [13, 13]


def test_samples_travel_to_workers(train: TrainSamples, val: EvalSamples) -> None:
    assert torch.equal(pickle.loads(pickle.dumps(val))[[4]].ids, val[[4]].ids)
    assert torch.equal(pickle.loads(pickle.dumps(train))[[1]].ids, train[[1]].ids)


def test_a_truncated_image_names_its_file(val: EvalSamples) -> None:
    path = val.data.images[9].path
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DataError, match=r"000000000009.jpg is truncated"):
        val[[0]]


@pytest.mark.parametrize("size", [64, 56, 42])
def test_masks_on_the_grid_of_the_logits_give_the_same_loss(data: ReferData, tokens: Tokens, size: int) -> None:
    """Four, three and a half, and less than three pixels to a logit: exact for all."""
    split, box = data.split("train"), Letterbox(size)
    whole, small = (TrainSamples(split, box, tokens, 0, grid=grid)[[0, 1]] for grid in (None, (16, 16)))
    logits = torch.randn(2, 1, 16, 16)
    assert small.masks.shape == (2, 16, 16)
    assert whole.masks.shape == (2, size, size)
    assert small.masks.sum() > 0
    assert torch.equal(segmentation_loss(logits, whole.masks), segmentation_loss(logits, small.masks))
