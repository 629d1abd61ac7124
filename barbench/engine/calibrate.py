"""What a component learns from data before the training begins (`Hooks.calibrate`), with a head trained for an epoch.

The head is then reset to its start, so that the training itself is that of any other method.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence

from accelerate.utils import broadcast
from torch import Tensor

from barbench.datasets.pixels.letterbox import normalized
from barbench.datasets.samples import JointSamples, TrainBatch, TrainSamples
from barbench.engine.checkpoint import tuned_state
from barbench.engine.step import Stepper
from barbench.errors import BarbenchError
from barbench.models.segmenter import Segmenter, training_loss


def calibrate(
    segmenter: Segmenter,
    stepper: Stepper,
    steps: Iterable[list[TrainBatch]],
    count: int,
    lr: float,
    samples: TrainSamples | JointSamples,
    order: Sequence[int],
    on_progress: Callable[[str, float], None],
) -> None:
    """Calibrate a segmenter's method, in place. To be called by all processes, which end with the same result.

    Args:
        segmenter: on its device; only its method's buffers are changed in the end.
        steps: one epoch of this process's micro-batches.
        count: how many steps that is.
        order: indices of samples; the losses are those of the first ones, the same in every process.
        on_progress: called after every step and every sample with what is done and the share done; may raise to stop.

    Raises:
        BarbenchError: if the head's training ends in numbers that are not finite.
    """
    accelerator = stepper.accelerator
    head = segmenter.head_parameters()
    # What is reset afterwards: everything but the method's own parameters and buffers.
    start = {}
    for name, value in tuned_state(segmenter).items():
        if name in head or not name.startswith("method."):
            start[name] = value

    for number, micros in enumerate(steps, 1):
        stepper.launch(micros, lr)
        on_progress("calibrating: an epoch of the head alone", number / count)
    if stepper.bad:
        raise BarbenchError("the loss is not finite in the epoch in which the head alone is trained")

    def losses(wanted: int) -> Iterator[Tensor]:
        segmenter.eval()
        first = order[:wanted]
        # Sample by sample: a component may want the gradient of each.
        for number, index in enumerate(first, 1):
            batch = samples[[index]]
            image = batch.images.to(accelerator.device)
            ids = batch.ids.to(accelerator.device)
            mask = batch.masks.to(accelerator.device)
            with accelerator.autocast():
                loss = training_loss(segmenter(normalized(image, segmenter.normalization), ids), mask)
            yield loss
            on_progress("calibrating: the method", number / len(first))

    segmenter.method.calibrate(losses)
    segmenter.zero_grad()
    # What each process found may differ by rounding.
    found = broadcast(dict(segmenter.method.named_buffers()))
    buffers = {f"method.{name}": value for name, value in found.items()}
    segmenter.load_state_dict(start | buffers, strict=False)
    segmenter.train()
