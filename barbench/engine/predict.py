"""From images and expressions to masks: the one path for evaluation, panels and `barbench predict`."""

import numpy as np
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor

from barbench.datasets.pixels.letterbox import Letterbox, normalized
from barbench.engine.pending import PendingTensor
from barbench.models.segmenter import Segmenter


def predict(
    segmenter: Segmenter, images: Tensor, ids: Tensor, accelerator: Accelerator, rows: Tensor | None = None
) -> NDArray[np.float32]:
    """Probabilities of the foreground, on the model's square.

    Args:
        segmenter: in evaluation mode.
        images: letterboxed images, uint8 (U, S, S, 3).
        ids: token ids, int64 (B, L), 0 = padding.
        accelerator: device and precision.
        rows: int64 (B,): expression i refers to image rows[i]. None: to image i, and U = B.

    Returns:
        (B, S, S) in letterbox coordinates.
    """
    return predict_pending(segmenter, images, ids, accelerator, rows).read().numpy()


@torch.inference_mode()
def predict_pending(
    segmenter: Segmenter, images: Tensor, ids: Tensor, accelerator: Accelerator, rows: Tensor | None = None
) -> PendingTensor:
    """`predict` without waiting for the device: what will be (B, S, S) in letterbox coordinates."""
    device = accelerator.device
    with accelerator.autocast():
        pixels = normalized(images.to(device, non_blocking=True), segmenter.normalization)
        ids = ids.to(device, non_blocking=True)
        if rows is not None:
            rows = rows.to(device, non_blocking=True)
        logits = segmenter(pixels, ids, rows).logits
    return PendingTensor(probabilities(logits, images.shape[1]))


def probabilities(logits: Tensor, size: int) -> Tensor:
    """Logits (B, 1, h, w) to probabilities (B, size, size): sigmoid, then bicubic upsampling with aligned corners."""
    return F.interpolate(logits.float().sigmoid(), (size, size), mode="bicubic", align_corners=True)[:, 0]


def to_mask(
    probability: NDArray[np.float32],
    letterbox: Letterbox,
    height: int,
    width: int,
    threshold: float,
    none_below: int = 0,
) -> NDArray[np.bool_]:
    """Probabilities on the model's square to a mask in the image's own pixels.

    Args:
        probability: (S, S), in letterbox coordinates.
        letterbox: how the image was placed on the square.
        height: of the image.
        width: of the image.
        threshold: probability above which a pixel is foreground.
        none_below: a mask of fewer pixels is emptied (see `none_below` of the partition).

    Returns:
        (height, width).
    """
    return above(letterbox.restore(probability, height, width), threshold, none_below)


def above(probability: NDArray[np.float32], threshold: float, none_below: int = 0) -> NDArray[np.bool_]:
    """The pixels whose probability is above a threshold; none, where they are fewer than `none_below`."""
    mask = probability > threshold
    if np.count_nonzero(mask) < none_below:
        return np.zeros_like(mask)
    return mask
