"""A GPU against the CPU, method by method: `pytest -m gpu` (docs/gpu-check.md).

BARBENCH_CHECK_DEVICE=cpu compares the CPU with itself, on fused kernels: it shows that the checks themselves run.
"""

import os
from collections.abc import Callable, Iterator

import pytest
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import Tensor, nn

from barbench.engine.pending import PendingTensor
from barbench.engine.predict import predict
from barbench.models.efficient.activations import quick_gelu, quick_mlp
from barbench.models.efficient.dropout import Dropout, without_dropout
from barbench.models.efficient.flows import planar_flow
from barbench.models.efficient.fused import fusable
from barbench.models.efficient.kernels import choose_kernels
from barbench.models.efficient.norms import layer_norm
from barbench.models.efficient.upsample import convolve_upsampled
from barbench.models.segmenter import Segmenter
from tests.contract.test_contract import METHODS, built, loss_of
from tests.models.small import KINDS, inputs

DEVICE = torch.device(os.environ.get("BARBENCH_CHECK_DEVICE", "cuda"))
CUDA = DEVICE.type == "cuda"
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(
        CUDA and not torch.cuda.is_available(),
        reason="there is no GPU (BARBENCH_CHECK_DEVICE=cpu tries these checks on the CPU)",
    ),
]
PAIRS = [(name, "quickgelu") for name in METHODS] + [("barleria", kind) for kind in KINDS if kind != "quickgelu"]
HALF = [torch.bfloat16, torch.float16] if CUDA else [torch.bfloat16]
Grads = dict[str, Tensor]


@pytest.fixture(autouse=True, params=["fused", "low_memory"] if CUDA else ["fused"])
def kernels(request: pytest.FixtureRequest) -> Iterator[str]:
    """Both kinds of kernels on a GPU; fp32 without TF32, as barbench computes."""
    allowed = torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    choose_kernels(request.param)
    yield request.param
    choose_kernels("auto")
    torch.backends.cudnn.allow_tf32 = allowed


def model(name: str, kind: str, dropout: bool = False) -> Segmenter:
    """A small model, its method moved away from where it starts."""
    made, make = built(name, kind).train(), torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in made.method.parameters():
            p += torch.randn(p.shape, generator=make) * 0.03
    if not dropout:
        without_dropout(made)
    return made


def step(
    made: Segmenter, device: torch.device, kind: torch.dtype = torch.float32, batch: int = 16
) -> tuple[float, Grads]:
    """Loss and gradients of one step, which are all finite."""
    made.to(device).zero_grad()
    scale = 2.0**10 if kind is torch.float16 else 1.0
    with torch.autocast(device.type, kind, enabled=kind is not torch.float32):
        loss = loss_of(made, *(t.to(device) for t in inputs(batch=batch)))
    (loss * scale).backward()
    found = {name: p.grad for name, p in made.tuned_parameters().items() if p.grad is not None}
    assert found.keys() == made.tuned_parameters().keys()
    assert [name for name, g in found.items() if not g.isfinite().all()] == []
    return float(loss), {name: (g / scale).cpu().clone() for name, g in found.items()}


def far(ours: Grads, theirs: Grads) -> float:
    """Distance of all gradients together, relative to their length."""
    a, b = (torch.cat([g[name].flatten().double() for name in theirs]) for g in (ours, theirs))
    return float((a - b).norm() / b.norm())


@pytest.mark.parametrize(("name", "kind"), PAIRS)
def test_fp32_is_the_cpus(name: str, kind: str) -> None:
    (loss, grads), (there, others) = step(model(name, kind), torch.device("cpu")), step(model(name, kind), DEVICE)
    assert there == pytest.approx(loss, rel=1e-4)
    assert far(others, grads) < 2e-3


@pytest.mark.parametrize("kind", HALF, ids=str)
@pytest.mark.parametrize("name", METHODS)
def test_half_precision_is_finite_and_close(name: str, kind: torch.dtype) -> None:
    loss, grads = step(model(name, "quickgelu"), DEVICE)
    there, others = step(model(name, "quickgelu"), DEVICE, kind)
    assert there == pytest.approx(loss, rel=0.03)
    assert far(others, grads) < (0.3 if kind is torch.bfloat16 else 0.08)  # a CPU's bf16: 0.05 to 0.16


@pytest.mark.parametrize("name", ["etris", "barleria"])
def test_dropout_repeats_where_it_is_computed_again(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same seed with and without recomputation: its masks are those of the forward pass."""
    torch.manual_seed(5)
    _, kept = step(model(name, "quickgelu", dropout=True), DEVICE)
    monkeypatch.setattr("barbench.models.decoder.checkpoint", lambda f, *args, use_reentrant: f(*args))
    torch.manual_seed(5)
    _, plain = step(model(name, "quickgelu", dropout=True), DEVICE)
    assert far(kept, plain) < 1e-4
    torch.manual_seed(6)
    assert far(step(model(name, "quickgelu", dropout=True), DEVICE)[1], plain) > 1e-2


@pytest.mark.parametrize("name", ["etris", "snf", "barleria"])
def test_predictions_are_the_cpus(name: str) -> None:
    images = torch.randint(0, 256, (3, 48, 48, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    rows, ids = torch.tensor([0, 0, 1, 2, 2]), inputs(batch=5)[1]
    found = []
    for device in (torch.device("cpu"), DEVICE):
        AcceleratorState._reset_state()
        accelerator = Accelerator(cpu=device.type == "cpu")
        found.append(predict(model(name, "quickgelu").eval().to(device), images, ids, accelerator, rows))
    AcceleratorState._reset_state()
    assert abs(found[0] - found[1]).max() < 1e-4


def functions() -> dict[str, tuple[Callable[..., Tensor], tuple[Tensor, ...]]]:
    """The functions with an own backward pass, and inputs in float64."""
    make = torch.Generator().manual_seed(0)

    def t(*shape: int, by: float = 1.0) -> Tensor:
        return torch.randn(*shape, generator=make, dtype=torch.float64) * by

    up, down = nn.Linear(64, 256).double().requires_grad_(False), nn.Linear(256, 64).double().requires_grad_(False)

    def mlp(x: Tensor) -> Tensor:
        return quick_mlp(x, up.to(x), down.to(x))

    flow = (t(8, 70, 64), t(64, by=0.1), t(64, by=0.1), t(4, 64, by=0.1), t(4), t(4, 64, by=0.1))
    return {
        "quick_gelu": (quick_gelu, (t(512, 64),)),
        "quick_mlp": (mlp, (t(8, 70, 64),)),
        "planar_flow": (planar_flow, flow),
        "convolve_upsampled": (convolve_upsampled, (t(32, 13, 13, 32), t(48, 32, 3, 3, by=0.05))),
    }


@pytest.mark.parametrize("kind", [torch.float64, torch.float32, *HALF], ids=str)
@pytest.mark.parametrize("name", functions())
def test_functions_against_float64(name: str, kind: torch.dtype) -> None:
    function, args = functions()[name]
    rounded = [a.to(kind).double() for a in args]

    def run(values: list[Tensor], low_memory: bool) -> list[Tensor]:
        choose_kernels("low_memory") if low_memory else None
        leaves = [v.detach().requires_grad_() for v in values]
        y = function(*leaves)
        seed = torch.randn(y.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64).to(kind).to(y)
        return [y.detach(), *torch.autograd.grad(y, leaves, seed)]

    found, expected = run([a.to(DEVICE, kind) for a in rounded], False), run(rounded, True)
    allowed = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 3e-3}[kind]
    for number, (ours, exact) in enumerate(zip(found, expected, strict=True)):
        assert float((ours.cpu().double() - exact).norm() / exact.norm()) < allowed, number


@pytest.mark.parametrize("width", [64, 512, 768, 1024])
def test_layer_norm_in_bf16_is_rounded_once(width: int) -> None:
    module, x = nn.LayerNorm(width), torch.randn(2, 37, width, requires_grad=True)
    expected, seed = F.layer_norm(x.double(), (width,)), torch.randn(2, 37, width)
    (wanted,) = torch.autograd.grad(expected, x, seed.double())
    there = x.detach().to(DEVICE).requires_grad_()
    with torch.autocast(DEVICE.type, torch.bfloat16):
        y = layer_norm(module.to(DEVICE), there)
    (found,) = torch.autograd.grad(y, there, seed.to(y))
    assert float((y.cpu().double() - expected).norm() / expected.norm()) < 2**-8
    assert float((found.cpu().double() - wanted).norm() / wanted.norm()) < 2**-7


def test_fused_kernels_are_tritons(kernels: str) -> None:
    if not CUDA:
        pytest.skip("Triton computes on a GPU")
    assert fusable(torch.empty(0, device=DEVICE))


def test_dropout_drops_its_share() -> None:
    x = torch.ones(1000, 1000, device=DEVICE, requires_grad=True)
    y = Dropout(0.1).train()(x)
    assert float((y == 0).float().mean()) == pytest.approx(0.1, abs=2e-3)
    y.sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, y.detach())


def test_a_number_is_read_while_the_device_goes_on() -> None:
    x = torch.arange(6.0, device=DEVICE)
    late = PendingTensor(x * 2)
    x.zero_()
    assert late.read().tolist() == [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]


def test_attention_has_a_fused_kernel() -> None:
    """The decoder's self-attention at the paper's size with dropout, and its cross-attention with a mask."""
    if not CUDA:
        pytest.skip("CUDA's choice")
    from torch.nn.attention import SDPBackend, sdpa_kernel

    q = torch.randn(2, 8, 676, 64, device=DEVICE, dtype=torch.bfloat16, requires_grad=True)
    k = torch.randn(2, 8, 17, 64, device=DEVICE, dtype=torch.bfloat16)
    look = torch.ones(2, 1, 1, 17, device=DEVICE, dtype=torch.bool)
    with sdpa_kernel([SDPBackend.FLASH_ATTENTION]):
        F.scaled_dot_product_attention(q, q, q, dropout_p=0.1).sum().backward()
    with sdpa_kernel([SDPBackend.EFFICIENT_ATTENTION]):
        F.scaled_dot_product_attention(q, k, k, attn_mask=look, dropout_p=0.1).sum().backward()
