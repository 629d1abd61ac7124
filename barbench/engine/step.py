"""One optimizer step. Nothing here waits for the device: what the host wants to know is returned as a tensor."""

from contextlib import nullcontext

import torch
from accelerate import Accelerator
from torch import Tensor

from barbench.datasets.pixels.letterbox import normalized
from barbench.datasets.samples import TrainBatch
from barbench.models.segmenter import mask_at, training_loss
from barbench.spec.backbone import Normalization


class Stepper:
    """Launches steps of one training.

    A step whose loss or gradient is not finite changes no weight, and neither does any step after it: fused optimizers
    take a flag that makes their kernel leave everything as it is, so that the host can read the numbers later. With
    fp16 the loss scaler handles an infinite gradient: it skips that one step.

    Args:
        model: as `accelerator.prepare` gave it.
        optimizer: as `accelerator.prepare` gave it; each parameter group says its `factor` on the learning rate.
        accelerator: device, precision and processes.
        clip: largest norm of the gradient; None: not clipped.
        normalization: of the pixels.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        optimizer: torch.optim.Optimizer,
        accelerator: Accelerator,
        clip: float | None,
        normalization: Normalization,
    ) -> None:
        self.model = model
        self.optimizer = optimizer
        self.accelerator = accelerator
        self.clip = clip
        self.normalization = normalization
        self.tuned: list[torch.nn.Parameter] = []
        for group in optimizer.param_groups:
            self.tuned += group["params"]
        self.bad = torch.zeros((), dtype=torch.bool, device=accelerator.device)

    def launch(self, micros: list[TrainBatch], lr: float) -> Tensor:
        """Forward, backward and update of one step.

        Args:
            micros: this process's micro-batches of the step.
            lr: learning rate, multiplied by each group's factor.

        Returns:
            (3,): the mean loss over all processes, the gradient's norm before clipping, and the IoU of the last
            micro-batch.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = lr * group["factor"]
        self.model.train()
        self.optimizer.zero_grad()
        loss, iou = self._backward(micros)
        loss = self.accelerator.reduce(loss, "mean")
        # Kept on the device: reading it here would wait for the step.
        self.bad = self.bad | ~loss.isfinite()
        norm = self._norm()
        self._update(norm)
        return torch.stack([loss, norm.to(loss), iou])

    def _backward(self, micros: list[TrainBatch]) -> tuple[Tensor, Tensor]:
        """Add up the gradients of the micro-batches; their mean loss, and the last one's IoU."""
        accelerator = self.accelerator
        device = accelerator.device
        total = torch.zeros((), device=device)
        for number, micro in enumerate(micros, 1):
            image = micro.images.to(device, non_blocking=True)
            ids = micro.ids.to(device, non_blocking=True)
            mask = micro.masks.to(device, non_blocking=True)
            # Gradients are averaged over processes once, after the last micro-batch.
            last = number == len(micros)
            with nullcontext() if last else accelerator.no_sync(self.model):
                with accelerator.autocast():
                    output = self.model(normalized(image, self.normalization), ids)
                    loss = training_loss(output, mask)
                accelerator.backward(loss / len(micros))
            total += loss.detach() / len(micros)
        return total, _iou(output.logits.detach(), mask)

    def _norm(self) -> Tensor:
        """The gradient's norm, before it is clipped; of the gradient itself, not of the scaled one that fp16 has."""
        gradients = [p.grad for p in self.tuned if p.grad is not None]
        if self.accelerator.scaler is not None:
            gradients[0].masked_fill_(self.bad, torch.nan)  # the scaler alone decides, by the gradients
            self.accelerator.unscale_gradients(self.optimizer)
        if self.clip is not None:
            return torch.nn.utils.clip_grad_norm_(self.tuned, self.clip)
        return torch.nn.utils.get_total_norm(gradients)

    def _update(self, norm: Tensor) -> None:
        """The optimizer's step, unless a number was not finite."""
        if self.accelerator.scaler is not None:
            self.optimizer.step()
            return
        self.bad = self.bad | ~norm.isfinite()
        inner = getattr(self.optimizer, "optimizer", self.optimizer)
        # A fused kernel reads the flag by itself; for any other the host has to wait.
        if inner.defaults.get("fused"):
            vars(inner).update(grad_scale=None, found_inf=self.bad.float())
            self.optimizer.step()
        elif not self.bad:
            self.optimizer.step()


def _iou(logits: Tensor, mask: Tensor) -> Tensor:
    """Mean IoU of logits (B, 1, h, w), at probability one half, with masks (B, S, S) at the logits' resolution."""
    target = mask_at(mask, logits) > 0.5
    guess = logits > 0
    intersection = (guess & target).sum((1, 2, 3))
    union = (guess | target).sum((1, 2, 3))
    return (intersection / union.clamp(min=1)).mean()
