"""No activation of a block below the lowest tuned place is kept (complaint 7; peft#2468)."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from unittest import mock

import pytest
import torch
from torch import Tensor

from barbench.models import walk
from barbench.models.segmenter import Segmenter
from barbench.models.stream import Stream
from tests.complaints.complaints import each_method, judge
from tests.complaints.steps import without_chance
from tests.contract.test_contract import built, loss_of
from tests.models.small import inputs

Place = tuple[str, int]
"""A tower, and the number of a block; -1 is what comes before the first."""


@dataclass
class Seen:
    """Of one forward pass: what leaves each place, and the bytes that autograd keeps while it computes there."""

    leaves: dict[Place, Tensor] = field(default_factory=dict)
    kept: dict[Place, int] = field(default_factory=dict)
    now: Place | None = None


@contextmanager
def watched(segmenter: Segmenter) -> Iterator[Seen]:
    seen = Seen()
    own = {t.untyped_storage().data_ptr() for t in (*segmenter.parameters(), *segmenter.buffers())}
    run_block = walk.run_block

    def at(place: Place, compute, *args, **kwargs) -> Stream:  # type: ignore[no-untyped-def]
        seen.now = place
        stream: Stream = compute(*args, **kwargs)
        seen.now = None
        seen.leaves[place] = stream.native.detach().clone()
        return stream

    def block(tower, number, *args, **kwargs) -> Stream:  # type: ignore[no-untyped-def]
        return at((tower.name, number), run_block, tower, number, *args, **kwargs)

    def pack(tensor: Tensor) -> Tensor:
        if seen.now is not None and tensor.untyped_storage().data_ptr() not in own:
            seen.kept[seen.now] = seen.kept.get(seen.now, 0) + tensor.nbytes
        return tensor

    with (
        mock.patch.object(walk, "run_block", block),
        mock.patch.object(segmenter.vision, "embed", _embed(at, segmenter.vision)),
        mock.patch.object(segmenter.text, "embed", _embed(at, segmenter.text)),
        torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t),
    ):
        yield seen


def _embed(at, tower):  # type: ignore[no-untyped-def]
    embed = tower.embed
    return lambda *args, **kwargs: at((tower.name, -1), embed, *args, **kwargs)


def kept_below(segmenter: Segmenter, image: Tensor, ids: Tensor) -> list[str]:
    """What is kept at places whose output does not depend on what is tuned."""
    with watched(segmenter) as seen:
        loss_of(segmenter, image, ids)
    with torch.no_grad():
        for number, p in enumerate(segmenter.tuned_parameters().values()):
            p += torch.randn(p.shape, generator=torch.Generator().manual_seed(number)) * 0.05
    with watched(segmenter) as moved:
        loss_of(segmenter, image, ids)
    assert len(seen.leaves) == 2 + segmenter.vision.depth + segmenter.text.depth
    below = [place for place, x in seen.leaves.items() if torch.equal(x, moved.leaves[place])]
    return [f"{place}: {seen.kept[place]} bytes" for place in below if place in seen.kept]


@pytest.mark.complaint(7)
@each_method("lst", "barleria")
def test_nothing_is_kept_below_the_lowest_tuned_place(name: str) -> None:
    """Where that is, the values say: it is the first place whose output changes with the tuned parameters."""
    segmenter = without_chance(built(name, "quickgelu")).train()
    judge(7, name, kept_below(segmenter, *inputs()))


def test_what_is_kept_below_is_seen() -> None:
    """An image that asks for a gradient, as some libraries let the embeddings do, keeps all of the vision tower."""
    segmenter = without_chance(built("head-only", "quickgelu")).train()
    image, ids = inputs()
    assert len(kept_below(segmenter, image.requires_grad_(), ids)) >= segmenter.vision.depth
