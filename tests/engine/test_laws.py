"""Laws of metrics and weights: no dependence on order and batch size, and saved weights give the same outputs."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from safetensors.torch import load_file, save_file

from barbench.datasets.samples import EvalSamples
from barbench.engine.checkpoint import load_tuned, tuned_state
from barbench.engine.evaluate import evaluate
from barbench.metrics import iou, overlap, summarize
from barbench.models.segmenter import Segmenter
from tests.models.small import inputs

quick = settings(max_examples=150, deadline=None, derandomize=True, database=None)
counts = st.lists(st.tuples(st.integers(0, 50_000), st.integers(0, 50_000)), min_size=1, max_size=60)


def columns(pairs: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    """Intersections and unions; a union is no smaller than its intersection."""
    table = np.array([(min(pair), max(pair)) for pair in pairs], dtype=np.int64)
    return table[:, 0], table[:, 1]


@quick
@given(pairs=counts, order=st.randoms(use_true_random=False))
def test_metrics_do_not_depend_on_the_order(pairs: list[tuple[int, int]], order: object) -> None:
    shuffled = list(pairs)
    order.shuffle(shuffled)  # type: ignore[attr-defined]
    one, other = summarize(*columns(pairs)), summarize(*columns(shuffled))
    assert {**one.model_dump(), "miou": 0} == {**other.model_dump(), "miou": 0}
    assert one.miou == pytest.approx(other.miou, rel=1e-12, abs=1e-15)


@quick
@given(pairs=counts)
def test_metrics_are_ratios_and_precision_falls(pairs: list[tuple[int, int]]) -> None:
    found = summarize(*columns(pairs))
    assert 0 <= found.miou <= 1
    assert 0 <= found.oiou <= 1
    precision = [found[f"p{threshold}"] for threshold in (50, 60, 70, 80, 90)]
    assert precision == sorted(precision, reverse=True)
    ratios = iou(*columns(pairs))
    assert ratios.min() <= found.oiou + 1e-12
    assert found.oiou <= ratios.max() + 1e-12


@quick
@given(pair=st.tuples(st.integers(0, 50_000), st.integers(0, 50_000)))
def test_of_one_sample_both_ious_are_its_iou(pair: tuple[int, int]) -> None:
    meet, join = columns([pair])
    found = summarize(meet, join)
    assert found.miou == found.oiou == (meet[0] / join[0] if join[0] else 0)


masks = arrays(np.uint8, (7, 9), elements=st.integers(0, 1))


@quick
@given(a=masks, b=masks)
def test_overlap_is_symmetric_and_counts_pixels(a: np.ndarray, b: np.ndarray) -> None:
    meet, join = overlap(a > 0, b)
    assert (meet, join) == overlap(b > 0, a)
    assert meet + join == a.sum() + b.sum()
    assert (meet, join) == (int((a & b).sum()), int((a | b).sum()))


@pytest.mark.parametrize("batch", [1, 3, 64])
def test_scores_do_not_depend_on_the_batch(
    batch: int, build: Callable[..., Segmenter], val_samples: EvalSamples, accelerator: Accelerator
) -> None:
    """A pixel at the very threshold may fall to either side, since sums of floats are ordered by the batch."""
    torch.manual_seed(0)
    segmenter = build("etris")
    wanted, found = (evaluate(segmenter, val_samples, accelerator, batch=b, threshold=0.5) for b in (7, batch))
    for name in ("intersection", "union", "control_intersection", "control_union"):
        assert np.abs(wanted.expressions[name] - found.expressions[name]).max() <= 3
    assert wanted.metrics.miou == pytest.approx(found.metrics.miou, abs=1e-3)


@pytest.mark.parametrize("method", ["head-only", "etris", "snf", "no-global", "barleria"])
def test_saved_and_loaded_methods_give_identical_outputs(
    method: str, build: Callable[..., Segmenter], tmp_path: Path
) -> None:
    first, second = build(method, seed=1).eval(), build(method, seed=2).eval()
    image, ids = inputs()
    with torch.no_grad():
        for parameter in first.tuned_parameters().values():
            parameter.add_(0.01 * torch.randn_like(parameter))
        wanted = first(image, ids).logits
        assert not torch.equal(second(image, ids).logits, wanted)
        save_file({n: v.contiguous() for n, v in tuned_state(first).items()}, tmp_path / "tuned.safetensors")
        load_tuned(second, load_file(tmp_path / "tuned.safetensors"))
        assert torch.equal(second(image, ids).logits, wanted)
