"""Shares of a step against the whole of it, and against what is known of each method."""

from collections.abc import Callable

import pytest
from torch.utils.flop_counter import FlopCounterMode

from barbench.engine.profile import example_batch
from barbench.engine.profile_parts import OTHER, by_part
from barbench.models.segmenter import Segmenter, segmentation_loss
from tests.models.small import SIZE

Build = Callable[..., Segmenter]
PARTS = {"vision", "text", "component", "neck", "decoder", "projector", OTHER}


@pytest.mark.parametrize("name", ["etris", "barleria", "barleria-released"])
def test_parts_sum_to_the_whole_step(name: str, build: Build) -> None:
    segmenter = build(name)
    image, ids, mask = example_batch(segmenter, SIZE, 17, 2)
    parts = by_part(segmenter, image, ids, mask)
    assert parts.keys() == PARTS
    segmenter.train()
    with FlopCounterMode(display=False) as counter:
        output = segmenter(image, ids)
        forward = counter.get_total_flops()
        loss = segmentation_loss(output.logits, mask)
        (loss if output.loss_extra is None else loss + output.loss_extra).backward()
    assert sum(p.forward_flops for p in parts.values()) == forward
    assert sum(p.forward_flops + p.backward_flops for p in parts.values()) == counter.get_total_flops()
    assert all(p.forward_s > 0 and p.backward_s >= 0 for p in parts.values())
    assert all(parts[p].backward_s > 0 for p in ("neck", "decoder", "projector", "component"))


def test_no_gradient_through_blocks_before_the_first_tuned_parameter(build: Build) -> None:
    """The head alone needs none in the towers; ETRIS meets after a third of the blocks, flows begin with the first."""
    parts = {name: by_part(s, *example_batch(s, SIZE, 17, 2)) for name in ("head-only", "etris", "snf", "full")
             for s in [build(name)]}  # fmt: skip
    vision = {name: p["vision"].backward_flops / p["vision"].forward_flops for name, p in parts.items()}
    assert vision["head-only"] == parts["head-only"]["text"].backward_flops == 0
    assert 0 < vision["etris"] < 0.75 * vision["snf"]
    assert vision["snf"] < 0.75 * vision["full"]
    assert parts["snf"]["text"].backward_flops == 0
    assert parts["head-only"]["component"].forward_flops == 0


def test_the_head_costs_every_method_the_same(build: Build) -> None:
    costs = [
        [(part.forward_flops, part.backward_flops) for name, part in by_part(s, *example_batch(s, SIZE, 17, 2)).items()
         if name in ("neck", "projector")]
        for s in map(build, ("etris", "barleria"))
    ]  # fmt: skip
    assert costs[0] == costs[1]


def test_nothing_stays_wrapped_and_no_gradient_is_left(build: Build) -> None:
    segmenter = build("barleria")
    by_part(segmenter, *example_batch(segmenter, SIZE, 17, 2))
    modules = (segmenter.vision, segmenter.text, segmenter.method, segmenter.neck)
    assert not any(callable(v) and n in ("embed", "fuse", "forward") for m in modules for n, v in vars(m).items())
    assert all(p.grad is None for p in segmenter.parameters())
