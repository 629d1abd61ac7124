"""Autograd functions that save fewer activations, against plain torch: values, gradients, and saved bytes."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from barbench.models.efficient.activations import quick_gelu, quick_mlp
from barbench.models.efficient.dropout import Dropout, attend_dropped, bernoulli_mask
from barbench.models.efficient.flows import planar

B, T, D, J = 2, 5, 6, 3


def doubles(*shape: int, grad: bool = True) -> Tensor:
    """Random float64, precise enough for gradcheck."""
    return torch.randn(*shape, dtype=torch.float64).requires_grad_(grad)


def flow_inputs() -> tuple[Tensor, ...]:
    """Arguments of `planar`: x, mu, sigma, inner, start, mixed, lam."""
    torch.manual_seed(0)
    return (doubles(B, T, D), doubles(D), doubles(D), doubles(J, D), doubles(J), doubles(J, J), doubles(J, D))


def saved_bytes(run: Callable[[], Tensor]) -> int:
    """Bytes of the activations that autograd saves while `run` runs, each storage once."""
    saved: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        saved[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        out = run()
    assert out.requires_grad
    return sum(saved.values())


def test_quick_gelu_is_its_formula_with_its_gradient() -> None:
    x = doubles(50) * 4
    torch.testing.assert_close(quick_gelu(x), x * torch.sigmoid(1.702 * x))
    assert torch.autograd.gradcheck(quick_gelu, (doubles(20),))


def test_quick_gelu_saves_one_tensor() -> None:
    x = torch.randn(1000, requires_grad=True)
    assert saved_bytes(lambda: quick_gelu(x)) == 4 * 1000


def frozen_maps(inner: int) -> tuple[nn.Linear, nn.Linear]:
    """Linear maps D -> inner -> D without gradients."""
    up, down = nn.Linear(D, inner), nn.Linear(inner, D)
    return up.requires_grad_(False), down.requires_grad_(False)


def test_quick_mlp_is_its_formula_with_its_gradient() -> None:
    torch.manual_seed(0)
    up, down = (m.double() for m in frozen_maps(3 * D))
    x = doubles(B, T, D) * 3
    wide = up(x)
    torch.testing.assert_close(quick_mlp(x, up, down), down(wide * torch.sigmoid(1.702 * wide)))
    torch.testing.assert_close(quick_mlp(x.detach(), up, down), down(wide * torch.sigmoid(1.702 * wide)))
    assert torch.autograd.gradcheck(lambda x: quick_mlp(x, up, down), (doubles(B, T, D),))


def test_quick_mlp_saves_the_widened_tokens_only() -> None:
    up, down = frozen_maps(50)
    x = torch.randn(4, 25, D, requires_grad=True)
    weights = 4 * (up.weight.numel() + down.weight.numel())
    assert saved_bytes(lambda: quick_mlp(x, up, down)) == 4 * 100 * 50 + weights


def test_quick_mlp_under_autocast() -> None:
    torch.manual_seed(0)
    up, down = frozen_maps(24)
    x = torch.randn(B, T, D, requires_grad=True)
    exact = quick_mlp(x, up, down)
    with torch.autocast("cpu", torch.bfloat16):
        y = quick_mlp(x, up, down)
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y.float(), exact, atol=0.02, rtol=0.02)
    y.float().sum().backward()
    assert x.grad is not None
    assert x.grad.dtype == torch.float32


@pytest.mark.parametrize("chance", [0.1, 0.5, 0.9])
def test_what_is_drawn_has_its_chance_in_each_quarter_of_a_number(chance: float) -> None:
    torch.manual_seed(0)
    found = bernoulli_mask(
        (250_000, 4), chance, torch.device("cpu")
    ).double()  # four from one number: one quarter per column
    sigma = (chance * (1 - chance) / len(found)) ** 0.5
    assert ((found.mean(0) - chance).abs() < 4 * sigma).all()
    correlation = (found.T @ found / len(found) - chance**2).triu(1)
    assert (correlation.abs() < 4 * sigma).all()


def test_what_is_drawn_at_the_ends() -> None:
    assert bernoulli_mask((3, 7), 1.0, torch.device("cpu")).all()
    assert bernoulli_mask((0, 7), 0.5, torch.device("cpu")).shape == (0, 7)


def test_planar_is_its_formula() -> None:
    x, mu, sigma, inner, start, mixed, lam = flow_inputs()
    moves: list[Tensor] = []
    for j in range(J):
        seen = (x * inner[j]).sum(-1) + start[j]
        for k in range(j):
            seen = seen + mixed[j, k] * moves[k]
        moves.append(seen.tanh())
    expected = mu + sigma * x + sum(m[..., None] * lam[j] for j, m in enumerate(moves))
    torch.testing.assert_close(planar(x, mu, sigma, inner, start, mixed, lam), expected)


def test_planar_has_the_gradients_of_its_formula() -> None:
    assert torch.autograd.gradcheck(planar, flow_inputs())


def test_planar_without_a_gradient_for_the_tokens() -> None:
    x, *rest = flow_inputs()
    assert torch.autograd.gradcheck(lambda *weights: planar(x.detach(), *weights), tuple(rest))


def test_planar_saves_the_tokens_and_little_else() -> None:
    x, weights = torch.randn(4, 100, 64, requires_grad=True), flow_inputs()[1:]
    shapes = [(64,), (64,), (J, 64), (J,), (J, J), (J, 64)]
    assert len(weights) == len(shapes)
    small = [torch.randn(shape, requires_grad=True) for shape in shapes]
    assert saved_bytes(lambda: planar(x, *small)) < 4 * 400 * (64 + J) + 4 * 64 * (2 + 2 * J) + 4 * J * J + 1


@pytest.mark.parametrize("masked", [False, True])
def test_dropped_attention_has_the_gradients_of_its_formula(masked: bool) -> None:
    torch.manual_seed(0)
    q, k, v = doubles(2, 2, 3, 4), doubles(2, 2, 5, 4), doubles(2, 2, 5, 4)
    attend = torch.ones(2, 1, 1, 5, dtype=torch.bool)
    attend[1, ..., 3:] = False

    def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        torch.manual_seed(1)
        return attend_dropped(q, k, v, attend if masked else None, 0.4)

    assert torch.autograd.gradcheck(attention, (q, k, v))
    torch.manual_seed(1)
    kept = bernoulli_mask((2, 2, 3, 5), 0.6, q.device)
    scores = q @ k.mT / 2
    weights = (scores.masked_fill(~attend, float("-inf")) if masked else scores).softmax(-1)
    torch.testing.assert_close(attention(q, k, v), (weights * kept / 0.6) @ v)


def test_dropped_attention_without_dropout_is_attention() -> None:
    q, k, v = doubles(2, 2, 3, 4), doubles(2, 2, 5, 4), doubles(2, 2, 5, 4)
    torch.testing.assert_close(attend_dropped(q, k, v, None, 0.0), F.scaled_dot_product_attention(q, k, v))


def test_a_query_without_a_key_gets_zeros_and_no_gradient() -> None:
    """As torch's own attention has it: the softmax of nothing would be NaN, in values and in all gradients."""
    q, k, v = doubles(2, 2, 3, 4), doubles(2, 2, 5, 4), doubles(2, 2, 5, 4)
    attend = torch.ones(2, 1, 1, 5, dtype=torch.bool)
    attend[1] = False  # a text without a word
    ours = attend_dropped(q, k, v, attend, 0.0)
    theirs = F.scaled_dot_product_attention(q, k, v, attend)
    torch.testing.assert_close(ours, theirs)
    assert not ours[1].any()
    found, expected = (torch.autograd.grad(y.square().sum(), (q, k, v)) for y in (ours, theirs))
    torch.testing.assert_close(found, expected)
    assert not any(gradient[1].any() for gradient in found)


def test_dropped_attention_saves_booleans_of_the_map() -> None:
    q, k, v = (torch.randn(1, 2, 64, 8, requires_grad=True) for _ in range(3))
    assert saved_bytes(lambda: attend_dropped(q, k, v, None, 0.1)) == 4 * 4 * q.numel() + 2 * 64 * 64


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_each_takes_the_precision_of_its_input(kind: torch.dtype) -> None:
    """As under autocast: tokens in a smaller type, parameters in fp32, whose gradients come in fp32."""
    weights = [w.detach().float().requires_grad_() for w in flow_inputs()[1:]]
    x = torch.randn(B, T, D).to(kind).requires_grad_()
    y = planar(x, *weights)
    y.float().sum().backward()
    assert y.dtype == kind
    assert x.grad is not None
    assert x.grad.dtype == kind
    assert {w.grad.dtype for w in weights if w.grad is not None} == {torch.float32}
    assert all(w.grad is not None for w in weights)
    assert quick_gelu(x).dtype == kind
    q = torch.randn(1, 2, 3, 4).to(kind)
    assert attend_dropped(q, q, q, None, 0.1).dtype == kind


def test_autocast_does_not_mix_types_within() -> None:
    """The residual stream stays in fp32 under autocast, and the backward pass may run under it, too."""
    weights = [w.detach().float().requires_grad_() for w in flow_inputs()[1:]]
    x, q = torch.randn(B, T, D, requires_grad=True), torch.randn(1, 2, 3, 4, requires_grad=True)
    exact = torch.autograd.grad(planar(x, *weights).square().sum(), [x, *weights])
    with torch.autocast("cpu", torch.bfloat16):
        y = planar(x, *weights)
        cast = torch.autograd.grad(y.square().sum(), [x, *weights])
        attend_dropped(q, q, q, None, 0.1).sum().backward()
    assert y.dtype == torch.float32
    for a, b in zip(cast, exact, strict=True):
        torch.testing.assert_close(a, b)


def test_dropout_is_torchs_with_a_mask_of_booleans() -> None:
    x = torch.ones(4000, requires_grad=True)
    dropout = Dropout(0.25)
    assert saved_bytes(lambda: dropout(x)) == 4000
    y = dropout(x)
    torch.testing.assert_close(y, (y > 0) / 0.75)
    assert (y == 0).float().mean().item() == pytest.approx(0.25, abs=0.03)
    assert torch.equal(torch.autograd.grad(y.sum(), x)[0], y.detach())
    assert dropout.eval()(x) is x
