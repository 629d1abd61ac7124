"""Costs against counts by hand, and measuring that leaves the model as it was."""

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from barbench.engine.profile import example_batch, flops_forward, peak, reset_peak, saved_bytes, timing
from barbench.engine.profile_parts import by_part
from barbench.models.segmenter import Output, Segmenter
from tests.models.small import SIZE

Build = Callable[..., Segmenter]


class OneLinear(nn.Module):
    """Image (B, 3, S, S) through one matrix of 3 S S x 7."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.matrix = nn.Linear(3 * size * size, 7)

    def forward(self, image: Tensor, ids: Tensor) -> Output:
        return Output(self.matrix(image.flatten(1)), None)


class OneAttention(nn.Module):
    """Image (B, 3, S, S) as S tokens of 3 S channels, attending in `heads` heads."""

    heads = 2

    def forward(self, image: Tensor, ids: Tensor) -> Output:
        batch, _, size, _ = image.shape
        x = image.permute(0, 2, 1, 3).reshape(batch, size, self.heads, -1).transpose(1, 2)
        return Output(F.scaled_dot_product_attention(x, x, x), None)


class OneConvolution(nn.Module):
    """A 1 x 1 convolution to one logit per pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Conv2d(3, 1, 1)

    def forward(self, image: Tensor, ids: Tensor) -> Output:
        return Output(self.mix(image), None)


def test_flops_of_a_matrix_by_hand() -> None:
    image, ids = torch.randn(4, 3, 6, 6), torch.zeros(4, 5, dtype=torch.long)
    assert flops_forward(OneLinear(6), image, ids) == 2 * (3 * 6 * 6) * 7  # type: ignore[arg-type]


def test_flops_where_a_module_is_given_a_learned_token() -> None:
    """As prompts are: a view of a parameter, which asks for gradients even where none are computed."""

    class OneToken(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tokens, self.dropout = nn.Parameter(torch.randn(2, 7)), nn.Dropout(0.0)

        def forward(self, image: Tensor, ids: Tensor) -> Output:
            return Output(self.dropout(self.tokens[1].expand(len(image), -1)) @ torch.ones(7, 5), None)

    model, image, ids = OneToken(), torch.randn(4, 3, 6, 6), torch.zeros(4, 5, dtype=torch.long)
    assert flops_forward(model, image, ids) == 2 * 7 * 5  # type: ignore[arg-type]
    assert model.tokens.requires_grad


def test_flops_of_attention_by_hand() -> None:
    """Scores and values: two products of (S x d) with (d x S), d = 3 S / heads, for each head."""
    size, heads = 8, 2
    image, ids = torch.randn(4, 3, size, size), torch.zeros(4, 5, dtype=torch.long)
    by_hand = 2 * heads * (2 * size * size * (3 * size // heads))
    assert flops_forward(OneAttention(), image, ids) == by_hand  # type: ignore[arg-type]


def test_saved_bytes_of_a_convolution_by_hand() -> None:
    """Saved: the image (for the weight's gradient), logits and resized mask (for the loss's); not the weight."""
    image, ids, mask = torch.randn(2, 3, 16, 16), torch.zeros(2, 5, dtype=torch.long), torch.ones(2, 16, 16)
    assert saved_bytes(OneConvolution(), image, ids, mask) == (3 + 1 + 1) * 2 * 16 * 16 * 4  # type: ignore[arg-type]


def test_a_shared_storage_counts_once() -> None:
    class Twice(OneConvolution):
        def forward(self, image: Tensor, ids: Tensor) -> Output:
            return Output(self.mix(image) + self.mix(image), None)

    image, ids, mask = torch.randn(2, 3, 16, 16), torch.zeros(2, 5, dtype=torch.long), torch.ones(2, 16, 16)
    assert saved_bytes(Twice(), image, ids, mask) == saved_bytes(OneConvolution(), image, ids, mask)  # type: ignore[arg-type]


def test_flops_grow_with_what_a_method_adds(build: Build) -> None:
    flops = {}
    for name in ("head-only", "etris", "snf", "snf-etris", "full"):
        segmenter = build(name)
        flops[name] = flops_forward(segmenter, *example_batch(segmenter, SIZE, 17, 4)[:2])
    assert flops["full"] == flops["head-only"]
    assert flops["head-only"] < flops["etris"] <= flops["snf-etris"]
    towers = sum(p.numel() for n, p in build("head-only").named_parameters() if n.endswith("mlp.c_fc.weight"))
    assert flops["head-only"] > 2 * towers


def test_flops_do_not_depend_on_the_batch_or_the_mode(build: Build) -> None:
    segmenter = build("barleria")
    few, many = (example_batch(segmenter, SIZE, 17, n) for n in (2, 5))
    assert flops_forward(segmenter.eval(), *few[:2]) == flops_forward(segmenter.train(), *many[:2])


def test_saved_bytes_order_methods_and_scale_with_the_batch(build: Build) -> None:
    saved = {}
    for name in ("head-only", "etris", "full"):
        segmenter = build(name)
        saved[name] = [saved_bytes(segmenter, *example_batch(segmenter, SIZE, 17, n)) for n in (2, 4)]
        assert 1.7 < saved[name][1] / saved[name][0] < 2.1
    assert saved["head-only"][0] < saved["etris"][0] <= saved["full"][0] * 1.2
    assert saved["head-only"][0] < saved["full"][0]


def test_measuring_changes_nothing(build: Build) -> None:
    segmenter = build("barleria").eval()
    before = {name: value.clone() for name, value in segmenter.state_dict().items()}
    batch = example_batch(segmenter, SIZE, 17, 4)
    flops_forward(segmenter, *batch[:2])
    assert not segmenter.training
    saved_bytes(segmenter, *batch)
    after = segmenter.state_dict()
    assert [name for name in before if not torch.equal(before[name], after[name])] == []
    assert any("running_mean" in name for name in before)
    assert all(p.grad is None for p in segmenter.parameters())


def test_example_batches_are_reproducible_sentences(build: Build) -> None:
    segmenter = build("head-only")
    image, ids, mask = example_batch(segmenter, SIZE, 17, 3)
    assert (image.shape, ids.shape, mask.shape) == ((3, 3, SIZE, SIZE), (3, 17), (3, SIZE, SIZE))
    assert set(mask.unique().tolist()) == {0.0, 1.0}
    assert ids.argmax(1).tolist() == [8, 8, 8], "the end of text has the highest id, padding follows"
    assert (ids[:, 9:] == 0).all()
    assert all(
        torch.equal(a, b) for a, b in zip((image, ids, mask), example_batch(segmenter, SIZE, 17, 3), strict=True)
    )


def test_timing_is_positive_and_leaves_parameters_alone(build: Build) -> None:
    segmenter = build("etris")
    before = {name: p.detach().clone() for name, p in segmenter.named_parameters()}
    times = timing(segmenter, *example_batch(segmenter, SIZE, 17, 2), repeats=2)
    assert all(seconds > 0 for seconds in times)
    assert all(torch.equal(before[name], p) for name, p in segmenter.named_parameters())


def one_block() -> tuple[str, int]:
    """What kind of peak there is, and by how much 64 MiB move it."""
    reset_peak(torch.device("cpu"))
    before = peak(torch.device("cpu"))
    block = torch.ones(64 * 2**20 // 4)
    after = peak(torch.device("cpu"))
    del block
    assert before.kind == after.kind
    return after.kind, after.bytes - before.bytes


def test_peak_memory_sees_an_allocation() -> None:
    # In a process of its own: this one may give back, between two looks, what other tests had.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        kind, moved = pool.submit(one_block).result()
    assert kind == "process RSS"
    assert moved == pytest.approx(64 * 2**20, rel=0.3)


def test_on_cuda_the_peak_is_the_allocators_and_what_it_reserved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 3)
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda device: 5)
    assert peak(torch.device("cuda")) == (3, "cuda allocator", 5)


def test_the_backward_pass_is_outside_autocast_as_in_training(build: Build) -> None:
    """torch wants it so; and weights that are cast once for all steps would cost too little."""
    seen = set[tuple[str, bool]]()

    class Recorded(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            seen.add(("forward", torch.is_autocast_enabled("cpu")))
            return x.clone()

        @staticmethod
        def backward(ctx: Any, grad: Tensor) -> Tensor:
            seen.add(("backward", torch.is_autocast_enabled("cpu")))
            return grad

    segmenter = build("head-only")
    segmenter.projector.register_forward_hook(lambda _, __, logits: Recorded.apply(logits))
    batch, autocast = example_batch(segmenter, SIZE, 17, 2), torch.autocast("cpu", torch.bfloat16)
    timing(segmenter, *batch, repeats=1, autocast=autocast)
    assert seen == {("forward", True), ("backward", False)}
    seen.clear()
    by_part(segmenter, *batch, autocast=autocast)
    assert seen == {("forward", True), ("backward", False)}
