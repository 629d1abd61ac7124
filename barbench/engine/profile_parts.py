"""Which part of a segmenter takes the time and FLOPs of a training step: `barbench profile --by part`."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node
from torch.utils.flop_counter import FlopCounterMode

from barbench.engine.profile import NO_AUTOCAST, now
from barbench.models.segmenter import Segmenter, training_loss
from barbench.models.stream import Stream

OTHER = "other"
TOWER = ("embed", "attended", "out", "mlp", "finish", "project")
HOOKS = ("before_block", "inside_block", "project", "branch", "shortcut", "after_stage", "fuse")


class PartCost(NamedTuple):
    """One part's share of a training step, per batch: seconds and FLOPs, a multiply-add counted as two."""

    forward_s: float
    backward_s: float
    forward_flops: int
    backward_flops: int


class _Meter:
    """Charges time and FLOPs to the current part; `switch` ends one charge and begins the next."""

    def __init__(self, device: torch.device, counter: FlopCounterMode | None) -> None:
        self.device = device
        self.counter = counter
        self.part = OTHER
        self.backward = False
        # By part, and whether it is the backward pass.
        self.seconds: dict[tuple[str, bool], float] = {}
        self.flops: dict[tuple[str, bool], int] = {}
        self.nodes: set[Node] = set()
        self.since = self._now()

    def _now(self) -> tuple[float, int]:
        seconds = now(self.device)
        flops = 0 if self.counter is None else int(self.counter.get_total_flops())
        return seconds, flops

    def switch(self, part: str) -> None:
        """Charge what has passed since the last switch to the current part, and make `part` current."""
        reached = self._now()
        key = (self.part, self.backward)
        self.seconds[key] = self.seconds.get(key, 0.0) + reached[0] - self.since[0]
        self.flops[key] = self.flops.get(key, 0) + reached[1] - self.since[1]
        self.part = part
        self.since = reached

    def claim(self, made: Any, part: str) -> None:
        """Make `part` current whenever the backward pass reaches an unclaimed node that `made` depends on."""
        waiting = [t.grad_fn for t in _tensors(made)]
        while waiting:
            node = waiting.pop()
            if node is None or node in self.nodes:
                continue
            self.nodes.add(node)
            node.register_prehook(lambda _, part=part: self.switch(part))
            waiting.extend(following for following, _ in node.next_functions)

    def around(self, function: Callable[..., Any], part: str) -> Callable[..., Any]:
        """`function`, charged to `part`; what it calls may be charged to others."""

        def charged(*args: Any, **kwargs: Any) -> Any:
            before = self.part
            self.claim(args, before)
            self.switch(part)
            made = function(*args, **kwargs)
            self.claim(made, part)
            self.switch(before)
            return made

        return charged


def by_part(
    segmenter: Segmenter,
    image: Tensor,
    ids: Tensor,
    mask: Tensor,
    autocast: AbstractContextManager[object] = NO_AUTOCAST,
) -> dict[str, PartCost]:
    """Measure one training step's forward and backward pass by part.

    Two passes over the same batch, images (B, 3, S, S), ids (B, L) and masks (B, S, S): one counts FLOPs, one takes
    times. On CUDA each switch waits for the device, so that the parts' times can be compared with each other but add up
    to more than a step. The model is left as it was, apart from the running statistics of its norms and its gradients,
    which are dropped. As in training, autocast is left before the backward pass.

    Returns:
        vision, text, component, neck, decoder, projector and other (residual sums, loss).
    """
    # Apart, because the counter of FLOPs slows every operation down.
    flops = _pass(segmenter, image, ids, mask, autocast, counted=True).flops
    seconds = _pass(segmenter, image, ids, mask, autocast, counted=False).seconds
    parts = {}
    for part in (*_owners(segmenter), OTHER):
        forward = (part, False)
        backward = (part, True)
        parts[part] = PartCost(
            forward_s=seconds.get(forward, 0.0),
            backward_s=seconds.get(backward, 0.0),
            forward_flops=flops.get(forward, 0),
            backward_flops=flops.get(backward, 0),
        )
    return parts


def _pass(
    segmenter: Segmenter,
    image: Tensor,
    ids: Tensor,
    mask: Tensor,
    autocast: AbstractContextManager[object],
    counted: bool,
) -> _Meter:
    """One training step, with its times, or with its FLOPs where they are `counted`."""
    counter = FlopCounterMode(display=False) if counted else None
    segmenter.train()
    with counter or nullcontext():
        meter = _Meter(image.device, counter)
        with _charged(segmenter, meter), autocast:
            output = segmenter(image, ids)
            loss = training_loss(output, mask)
        # The loss itself belongs to no part.
        meter.claim(loss, OTHER)
        meter.switch(OTHER)
        meter.backward = True
        loss.backward()  # type: ignore[no-untyped-call]
        meter.switch(OTHER)
    segmenter.zero_grad()
    return meter


def _owners(segmenter: Segmenter) -> dict[str, tuple[nn.Module, tuple[str, ...]]]:
    """Each part's module, and the functions of it that are the part's work."""
    head = ("forward",)
    return {
        "vision": (segmenter.vision, TOWER),
        "text": (segmenter.text, TOWER),
        "component": (segmenter.method, HOOKS),
        "neck": (segmenter.neck, head),
        "decoder": (segmenter.decoder, head),
        "projector": (segmenter.projector, head),
    }


@contextmanager
def _charged(segmenter: Segmenter, meter: _Meter) -> Iterator[None]:
    """Wrap the parts' functions, in the instances."""
    wrapped: list[tuple[nn.Module, str]] = []
    for part, (module, names) in _owners(segmenter).items():
        for name in names:
            if hasattr(module, name):
                module.__dict__[name] = meter.around(getattr(module, name), part)
                wrapped.append((module, name))
    try:
        yield
    finally:
        # Without the instance's attribute, the class's function is found again.
        for module, name in wrapped:
            del module.__dict__[name]


def _tensors(made: Any) -> Iterator[Tensor]:
    """All tensors in what a function was given or has made."""
    if isinstance(made, Tensor):
        yield made
    elif isinstance(made, Stream):
        yield made.tokens
    elif isinstance(made, tuple | list):
        for item in made:
            yield from _tensors(item)
