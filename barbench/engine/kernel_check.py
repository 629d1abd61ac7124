"""Whether this card's fused kernels compute what the `low_memory` ones do; only then `--kernels auto` uses them.

A kernel that fails can leave its process unable to use the card, so that a process of its own compares:
`python -m barbench.engine.kernel_check cuda:0 bf16`. What it finds is kept in `kernels/` of barbench's cache folder,
and holds for this card, driver, torch, precision and source of the kernels.
"""

import hashlib
import json
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from filelock import FileLock
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor
from torch.func import functional_call
from torch.utils import collect_env

from barbench.datasets.sources import cache_folder
from barbench.engine.precision import DTYPES, compute_exactly
from barbench.engine.profile import example_batch
from barbench.files import write_atomically
from barbench.methods.build import build_segmenter
from barbench.methods.resolve import resolve
from barbench.models.efficient import fused
from barbench.models.efficient.dropout import without_dropout
from barbench.models.efficient.flows import planar_flow
from barbench.models.efficient.kernels import choose_kernels
from barbench.models.efficient.norms import LayerNorm
from barbench.models.efficient.upsample import convolve_upsampled
from barbench.models.segmenter import Segmenter, training_loss
from barbench.models.towers.load import load_backbone
from barbench.spec.run import Kernels

TOLERANCES: dict[str, float] = {"fp32": 1e-4, "fp16": 4e-3, "bf16": 2e-2}
"""Allowed distance of each result of one kernel from `low_memory` kernels in fp32, relative to its length."""
STEP_TOLERANCE = 1e-3
"""The same of a step's loss, and of all its gradients together."""
WIDTHS = (512, 768)  # of ViT-B's text and vision: Triton compiles for 512 channels, and for 1024
TOKENS = (2, 1201)  # more than all programs of a backward pass hold at a time, and no multiple of what one holds
SECONDS = 300.0  # a process that takes longer hangs
FP16_SCALE = 2.0**10


class Card(BaseModel):
    """What a comparison holds for.

    Attributes:
        name: of the card.
        driver: its version; None if it does not say so.
        torch: its version.
        code: sixteen hex digits over the source of the kernels and of the comparison.
        precision: of training; fp32 is compared in any case.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    driver: str | None
    torch: str
    code: str
    precision: str


class Comparison(BaseModel):
    """What was found on a card.

    Attributes:
        card: where.
        problems: which kernels differ or fail, and how; none: all are equal.
    """

    model_config = ConfigDict(frozen=True)

    card: Card
    problems: tuple[str, ...]


class _Kernel(NamedTuple):
    """A function with a fused form, and its inputs in fp32."""

    name: str
    function: Callable[..., Tensor]
    inputs: tuple[Tensor, ...]


def settle_kernels(kernels: Kernels, device: torch.device, precision: str) -> str | None:
    """Choose kernels for this process: on CUDA, `auto` means `fused` where they are equal to the `low_memory` ones.

    Args:
        kernels: as `--kernels` has them.
        device: that computes.
        precision: of training.

    Returns:
        Why `auto` does not mean `fused` on this card, as one line; None where it does, and on other devices.
    """
    choose_kernels(kernels)
    if kernels != "auto" or device.type != "cuda":
        return None
    card = card_of(device, precision)
    file = cache_folder() / "kernels" / f"{_digest(card.model_dump_json().encode())}.json"
    lasting = f"To report it, give the content of {file}"
    with _one_at_a_time(file.with_suffix(".lock")):
        found = _stored(file, card)
        if found is None:  # of several processes, in the first one alone
            try:
                found = Comparison(card=card, problems=_compare_apart(device, precision))
            except (subprocess.SubprocessError, OSError, ValueError) as error:
                return f"low_memory kernels are used, since the fused ones could not be checked on this card: {error}"
            try:
                write_atomically(file, found.model_dump_json(indent=1).encode())
            except OSError as error:
                lasting = f"It is checked again each time, since {file} cannot be written: {error.strerror}"
    if found.problems:
        return f"low_memory kernels are used, since fused ones fail on this card: {found.problems[0]}. {lasting}"
    choose_kernels("fused")
    return None


@contextmanager
def _one_at_a_time(path: Path) -> Iterator[None]:
    """Let the processes of a host compare one after the other, so that the later ones find what the first one stored.

    The processes of a cell wait here for a file, not in a collective, whose timeout may be shorter. Where a folder
    takes no locks, and after SECONDS, a process enters without one.
    """
    with ExitStack() as held:
        with suppress(OSError):  # filelock's Timeout is one
            held.enter_context(FileLock(path).acquire(timeout=SECONDS))
        yield


def card_of(device: torch.device, precision: str) -> Card:
    """The CUDA card of a device, as a comparison is kept for it."""
    sources = sorted(Path(fused.__file__).parent.glob("*.py"))
    code = b"".join(file.read_bytes() for file in (*sources, Path(__file__)))
    return Card(
        name=torch.cuda.get_device_name(device),
        driver=collect_env.get_nvidia_driver_version(collect_env.run),  # type: ignore[no-untyped-call]
        torch=torch.__version__,
        code=_digest(code),
        precision=precision,
    )


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _stored(file: Path, card: Card) -> Comparison | None:
    """What an earlier cell found on the card; None if there was none."""
    try:
        found = Comparison.model_validate_json(file.read_bytes())
    except (OSError, ValidationError):
        return None
    return found if found.card == card else None


def _compare_apart(device: torch.device, precision: str) -> tuple[str, ...]:
    """`compare` in a process of its own.

    Raises:
        subprocess.SubprocessError: if it takes too long.
        ValueError: if it ends without an answer: the card has no memory left, or is used by one process alone.
    """
    command = [sys.executable, "-m", __name__, str(device), precision]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"the check ended with code {done.returncode}"]
        raise ValueError(lines[-1])
    return tuple(json.loads(done.stdout.splitlines()[-1]))


def compare(device: torch.device, precision: str) -> list[str]:
    """Compare each kind of kernel, and a whole step of a small model, in fp32 and in another precision.

    Args:
        device: that computes.
        precision: of training.

    Returns:
        Which kernels differ or fail, and how.

    Raises:
        RuntimeError: if the card is busy or its memory full, which says nothing about the kernels.
    """
    if fused.import_error is not None:
        return [f"Triton cannot be imported: {fused.import_error}"]
    # What fails here is a card that is busy or full, not a kernel.
    start = torch.ones(8, 8, device=device)
    (start @ start).sum().item()

    problems = []
    for kind in dict.fromkeys(("fp32", precision)):
        try:
            problems += _unequal_kernels(device, kind) or _unequal_step(device, kind)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # whatever a compiler or a driver raises
            message = str(error).strip().splitlines() or [""]
            return [*problems, f"{kind}: {type(error).__name__}: {message[0]}"]
    return problems


def _unequal_kernels(device: torch.device, precision: str) -> list[str]:
    problems = []
    for kernel in _kernels():
        rounded = [t.to(DTYPES[precision]).float().to(device) for t in kernel.inputs]
        run = partial(_results, kernel.function, rounded)
        problems += _unequal(f"{precision}, {kernel.name}", run, precision, TOLERANCES[precision])
    return problems


def _unequal_step(device: torch.device, precision: str) -> list[str]:
    """A step of a model that has all kinds of kernels."""
    run = partial(_step, _small_model().to(device))
    return _unequal(f"{precision}, a step", run, precision, STEP_TOLERANCE)


def _unequal(
    name: str, run: Callable[[Kernels, str], list[list[Tensor]]], precision: str, tolerance: float
) -> list[str]:
    """At most one line: what is farther from `low_memory` kernels in fp32 than allowed.

    Args:
        name: of what runs.
        run: gives groups of results, for kernels and a precision.
        precision: of the fused kernels.
        tolerance: allowed distance of a group; or twice that of `low_memory` kernels in this precision, if larger.

    Returns:
        The line, if there is one.
    """
    exact = run("low_memory", "fp32")
    usual = run("low_memory", precision)
    found = run("fused", precision)
    for ours, theirs, expected in zip(found, usual, exact, strict=True):
        distance = _distance(ours, expected)
        allowed = max(tolerance, 2 * _distance(theirs, expected))
        if not distance <= allowed:  # nor is what is not a number
            return [f"{name}: {distance:.1e} off, where rounding explains {allowed:.1e}"]
    return []


def _kernels() -> list[_Kernel]:
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int, scale: float = 1.0) -> Tensor:
        return torch.randn(*shape, generator=generator) * scale

    maps = (draw(2, 13, 13, 32), draw(48, 32, 3, 3, scale=0.05))
    kernels = [_Kernel("convolution of an upsampled map", convolve_upsampled, maps)]
    for width in WIDTHS:
        flow = (
            draw(*TOKENS, width),
            draw(width, scale=0.1),
            draw(width, scale=0.1),
            draw(4, width, scale=0.04),
            draw(4),
            draw(4, width, scale=0.1),
        )
        kernels.append(_Kernel(f"planar flow of {width} channels", planar_flow, flow))
        norm = (draw(*TOKENS, width) * 2 + 1, 1 + draw(width, scale=0.1), draw(width))
        kernels.append(_Kernel(f"LayerNorm of {width} channels", _norm, norm))
    return kernels


def _norm(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    module = LayerNorm(x.shape[-1], device=x.device)
    y: Tensor = functional_call(module, {"weight": weight, "bias": bias}, x)
    return y


def _results(
    function: Callable[..., Tensor], inputs: list[Tensor], kernels: Kernels, precision: str
) -> list[list[Tensor]]:
    """What a function returns, and the gradients of its inputs, of which the first is in this precision."""
    choose_kernels(kernels)
    leaves = [t.clone().requires_grad_() for t in inputs]
    with torch.autocast(inputs[0].device.type, DTYPES[precision], enabled=precision != "fp32"):
        y = function(leaves[0].to(DTYPES[precision]), *leaves[1:])
    direction = torch.randn(y.shape, generator=torch.Generator().manual_seed(1))
    direction = direction.bfloat16().float()  # the same in every precision
    return [[t] for t in (y.detach(), *torch.autograd.grad(y, leaves, direction.to(y)))]


def _small_model() -> Segmenter:
    """`barleria` on the smallest embedded backbone, away from where it starts, without dropout."""
    segmenter = build_segmenter(resolve("barleria")[0], load_backbone("tiny")).train()
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for p in segmenter.method.parameters():
            p.add_(torch.randn(p.shape, generator=generator), alpha=0.03)
    without_dropout(segmenter)
    return segmenter


def _step(segmenter: Segmenter, kernels: Kernels, precision: str) -> list[list[Tensor]]:
    """The loss; all gradients."""
    choose_kernels(kernels)
    device = next(segmenter.vision.parameters()).device
    image, ids, mask = example_batch(segmenter, segmenter.image_size, 9, 4)
    with torch.autocast(device.type, DTYPES[precision], enabled=precision != "fp32"):
        loss = training_loss(segmenter(image, ids), mask)
    scale = FP16_SCALE if precision == "fp16" else 1.0
    gradients = torch.autograd.grad(loss * scale, list(segmenter.tuned_parameters().values()), allow_unused=True)
    return [[loss.detach()], [g / scale for g in gradients if g is not None]]


def _distance(found: list[Tensor], expected: list[Tensor]) -> float:
    """Between all tensors together, relative to the length of the expected ones."""
    ours = torch.cat([t.flatten().double().cpu() for t in found])
    theirs = torch.cat([t.flatten().double().cpu() for t in expected])
    return float((ours - theirs).norm() / theirs.norm())


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    compute_exactly()
    print(json.dumps(compare(torch.device(sys.argv[1]), sys.argv[2])))
