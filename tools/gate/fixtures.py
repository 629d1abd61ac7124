"""What the gate's sections share: every method of the catalogue, and one training step without the optimizer."""

from torch import Tensor

from barbench.methods.resolve import resolve
from barbench.models.segmenter import Segmenter, training_loss

ALL = list(resolve("everything"))


def backward(model: Segmenter, image: Tensor, ids: Tensor, mask: Tensor) -> float:
    """One training step without the optimizer; gradients are added to existing ones.

    Args:
        model: put into training mode.
        image: uint8 (B, S, S, 3).
        ids: int64 (B, L).
        mask: float32 (B, S, S).

    Returns:
        The loss.
    """
    output = model.train()(image, ids)
    loss = training_loss(output, mask)
    loss.backward()  # type: ignore[no-untyped-call]
    return float(loss.detach())
