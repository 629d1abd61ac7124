"""What a model costs: FLOPs, saved activations, peak memory, speed. `barbench profile --methods all`."""

import resource
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from statistics import median
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from barbench.models.segmenter import Segmenter, segmentation_loss, training_loss

PeakKind = Literal["cuda allocator", "process RSS"]
NO_AUTOCAST = nullcontext()


class Peak(NamedTuple):
    """Peak memory.

    Attributes:
        bytes: the peak.
        kind: how it was measured: `cuda allocator` or `process RSS`.
        reserved: bytes that CUDA's allocator held at most, used or not; None elsewhere.
    """

    bytes: int
    kind: PeakKind
    reserved: int | None = None


class Timing(NamedTuple):
    """Median seconds per batch of the parts of a training step, and of inference.

    Attributes:
        forward: forward pass and loss, in training mode.
        backward: backward pass.
        optimizer: optimizer step.
        inference: forward pass in evaluation mode.
    """

    forward: float
    backward: float
    optimizer: float
    inference: float


def example_batch(segmenter: Segmenter, size: int, length: int, batch: int) -> tuple[Tensor, Tensor, Tensor]:
    """A random batch, always the same one.

    Args:
        segmenter: whose device is used.
        size: side of the images, in pixels.
        length: context length, in tokens.
        batch: number B of samples.

    Returns:
        Image (B, 3, size, size); ids (B, length) with start, words, end and padding; mask (B, size, size).
    """
    device = next(segmenter.vision.parameters()).device
    generator = torch.Generator().manual_seed(0)
    # Half of the context is words, then comes the end of the text, whose id is the largest.
    word_count = max(1, length // 2)
    ids = torch.zeros(batch, length, dtype=torch.long)
    ids[:, :word_count] = torch.randint(1, 200, (batch, word_count), generator=generator)
    ids[:, word_count] = 300
    # Objects of a fifth of the image.
    image = torch.randn(batch, 3, size, size, generator=generator)
    mask = (torch.rand(batch, size, size, generator=generator) > 0.8).float()
    return image.to(device), ids.to(device), mask.to(device)


def flops_forward(segmenter: Segmenter, image: Tensor, ids: Tensor) -> int:
    """FLOPs of one image's forward pass, a multiply-add counted as two.

    Counted in training mode: in evaluation mode torch's fused attention hides a third of them from the counter.

    Args:
        segmenter: left as it was.
        image: (B, 3, S, S), of which two are used.
        ids: (B, L).

    Returns:
        FLOPs per image.
    """
    was_training = segmenter.training
    segmenter.train()
    # With gradients: under `no_grad` a view of a parameter, as learned tokens are, still asks for them without having a
    # node in a graph, and the counter's hooks fail on a module that is given one.
    with _kept_norms(segmenter), FlopCounterMode(display=False) as counter:
        segmenter(image[:2], ids[:2])
    segmenter.train(was_training)
    return int(counter.get_total_flops()) // 2


def saved_bytes(segmenter: Segmenter, image: Tensor, ids: Tensor, mask: Tensor) -> int:
    """Bytes of saved activations: what autograd keeps from the forward for the backward pass of one batch.

    Each storage counts once; parameters and buffers do not count. Where a part is computed again in the backward pass
    (`checkpoint`), its input is saved as an argument, which no hook sees: one map of tokens per decoder layer is not
    counted.

    Args:
        segmenter: left in training mode, its norms' statistics as they were.
        image: (B, 3, S, S).
        ids: (B, L).
        mask: (B, S, S).

    Returns:
        Bytes per batch.
    """
    own = {t.untyped_storage()._cdata for t in (*segmenter.parameters(), *segmenter.buffers())}
    saved: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        # Not distinguished by the data's address, which all storages of the meta device share.
        if storage._cdata not in own:
            saved[storage._cdata] = storage.nbytes()
        return tensor

    segmenter.train()
    with _kept_norms(segmenter), torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        output = segmenter(image, ids)
        segmentation_loss(output.logits, mask)  # the graph is alive until here, so no two storages share an address
    return sum(saved.values())


def timing(
    segmenter: Segmenter,
    image: Tensor,
    ids: Tensor,
    mask: Tensor,
    repeats: int = 5,
    autocast: AbstractContextManager[object] = NO_AUTOCAST,
) -> Timing:
    """Time training steps and inference.

    The optimizer's steps have a learning rate of zero, so that parameters stay as they are; the norms' statistics
    change.

    Args:
        segmenter: on the batch's device.
        image: (B, 3, S, S).
        ids: (B, L).
        mask: (B, S, S).
        repeats: measured after one warm-up.
        autocast: entered for each forward pass and its loss, and left before the backward pass, as training does.

    Returns:
        Medians over `repeats`.
    """
    fused = image.device.type in ("cpu", "cuda")  # as in training
    optimizer = torch.optim.Adam(segmenter.tuned_parameters().values(), lr=0.0, fused=fused)
    measured: list[Timing] = []
    # One more than asked for: the first warms up.
    for _ in range(repeats + 1):
        forward, backward, step = _train_once(segmenter, optimizer, image, ids, mask, autocast)
        inference = _infer_once(segmenter, image, ids, autocast)
        measured.append(Timing(forward, backward, step, inference))
    del measured[0]  # the warm-up
    return Timing(*map(median, zip(*measured, strict=True)))


def reset_peak(device: torch.device) -> None:
    """Forget the peak so far: on CUDA the allocator's, on Linux that of the process."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    # Not Linux, or not allowed: `peak` then gives the peak of the process's whole life.
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak(device: torch.device) -> Peak:
    """The peak memory since `reset_peak`: of the CUDA allocator, or of the whole process."""
    if device.type == "cuda":
        allocated = torch.cuda.max_memory_allocated(device)
        reserved = torch.cuda.max_memory_reserved(device)
        return Peak(allocated, "cuda allocator", reserved)
    # Linux tells the peak since `reset_peak`, other systems that of the process's whole life.
    try:
        status = Path("/proc/self/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
        return Peak(int(line.split()[1]) * 1024, "process RSS")
    except (OSError, StopIteration):
        scale = 1 if sys.platform == "darwin" else 1024  # bytes on macOS, kilobytes elsewhere
        return Peak(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale, "process RSS")


@contextmanager
def _kept_norms(segmenter: Segmenter) -> Iterator[None]:
    """Restore all buffers, above all the running statistics of batch norms: measuring must not change a model."""
    before = [b.clone() for b in segmenter.buffers()]
    yield
    with torch.no_grad():
        for buffer, value in zip(segmenter.buffers(), before, strict=True):
            buffer.copy_(value)


def _train_once(
    segmenter: Segmenter,
    optimizer: torch.optim.Optimizer,
    image: Tensor,
    ids: Tensor,
    mask: Tensor,
    autocast: AbstractContextManager[object],
) -> tuple[float, float, float]:
    """Seconds of forward pass and loss, backward pass, and optimizer step."""
    device = image.device
    segmenter.train()
    optimizer.zero_grad()
    begin = now(device)
    with autocast:
        output = segmenter(image, ids)
        loss = training_loss(output, mask)
    forward_done = now(device)
    loss.backward()  # type: ignore[no-untyped-call]
    backward_done = now(device)
    optimizer.step()
    step_done = now(device)
    return forward_done - begin, backward_done - forward_done, step_done - backward_done


def _infer_once(segmenter: Segmenter, image: Tensor, ids: Tensor, autocast: AbstractContextManager[object]) -> float:
    segmenter.eval()
    begin = now(image.device)
    with torch.inference_mode(), autocast:
        segmenter(image, ids)
    return now(image.device) - begin


def now(device: torch.device) -> float:
    """The clock in seconds, once the device has done everything."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
