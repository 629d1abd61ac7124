"""The released side network's options; its equality with the public code is in tests/golden."""

import pytest
import torch
import torch.nn.functional as F

from barbench.errors import UsageError
from barbench.methods.topdown import TopDown
from barbench.models.walk import walk
from tests.models.small import inputs, small


def fused(batch: slice = slice(None), **options: object) -> tuple[TopDown, torch.Tensor, torch.Tensor | None]:
    """A side network with parameters far from their initial values, and its output on the inputs of `batch`."""
    torch.manual_seed(0)
    backbone = small()
    side = TopDown(**{"side": 24, "depth": 4, "queries": 5, "heads": 3, **options})  # type: ignore[arg-type]
    side.attach(backbone)
    for p in side.parameters():
        p.data += torch.randn_like(p) * 0.2
    image, ids = inputs()
    trace = walk(backbone.vision, backbone.text, side, image[batch], ids[batch])
    return side, *side.fuse(torch.zeros(len(trace.image), 32, 6, 6), trace)


def test_signals_are_the_weighed_tokens_projected_on_the_mean_word() -> None:
    side, _, _ = fused()
    x, p = torch.randn(2, 7, 24), torch.randn(2, 24)
    with torch.no_grad():
        for cosine in ("batch", "sample"):
            side.cosine = cosine  # type: ignore[assignment]
            unit = p / (p.norm(dim=0, keepdim=True) if cosine == "batch" else p.norm(dim=1, keepdim=True))
            y = torch.stack([x[b] * (F.normalize(x[b], dim=1) @ unit[b]).clamp(0, 1)[:, None] for b in range(2)])
            y = torch.stack([y[b] @ torch.outer(p[b], p[b]) * 5 for b in range(2)])
            expected = []
            for step in reversed(list(side.decoders)):
                y = y @ step.linear.weight.T
                expected.insert(0, y @ step.linear2.weight.T)
            for signal, other in zip(side._signals(x, p), expected, strict=True):
                torch.testing.assert_close(signal, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("cosine", "same"), [("batch", False), ("sample", True)])
def test_the_batch_matters_only_where_the_cosine_runs_over_it(cosine: str, same: bool) -> None:
    together, alone = fused(cosine=cosine)[1], fused(slice(0, 1), cosine=cosine)[1]
    assert torch.allclose(together[:1], alone, rtol=1e-4, atol=1e-4) == same


def test_reconstruction_trains_the_feedback_alone() -> None:
    side, _, loss = fused()
    assert loss is not None
    loss.backward()
    reached = {name for name, p in side.named_parameters() if p.grad is not None}
    assert reached == {f"decoders.{i}.linear.weight" for i in range(4)}
    assert fused(reconstruction=False)[2] is None


def test_evaluation_spends_nothing_on_reconstruction() -> None:
    side, query, _ = fused()
    backbone = small()
    trace = walk(backbone.vision, backbone.text, side.eval(), *inputs())
    evaluated = side.fuse(torch.zeros(3, 32, 6, 6), trace)
    assert evaluated.loss is None
    torch.testing.assert_close(evaluated.query, query)


def test_depth_has_room_for_the_fusions() -> None:
    with pytest.raises(UsageError):
        TopDown(depth=3)
