"""From images and expressions to masks, the one path for all that predicts: evaluation, panels, `barbench predict`."""

import numpy as np
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor

from barbench.datasets.letterbox import Letterbox, normalised
from barbench.models.segmenter import Segmenter


@torch.inference_mode()
def predict(
    segmenter: Segmenter, images: Tensor, ids: Tensor, accelerator: Accelerator, rows: Tensor | None = None
) -> NDArray[np.float32]:
    """Probabilities (B, S, S) on the model's square. images uint8 (U, S, S, 3) letterboxed, ids int64 (B, L);
    expression i speaks of image rows[i], of image i without `rows`. The segmenter is in evaluation mode."""
    device = accelerator.device
    with accelerator.autocast():
        pixels = normalised(images.to(device, non_blocking=True))
        logits = segmenter(pixels, ids.to(device), None if rows is None else rows.to(device)).logits
    return probabilities(logits, images.shape[1]).cpu().numpy()


def probabilities(logits: Tensor, size: int) -> Tensor:
    """Logits (B, 1, h, w) to probabilities (B, size, size): sigmoid, then bicubic with aligned corners."""
    return F.interpolate(logits.float().sigmoid(), (size, size), mode="bicubic", align_corners=True)[:, 0]


def to_mask(
    probability: NDArray[np.float32], letterbox: Letterbox, height: int, width: int, threshold: float
) -> NDArray[np.bool_]:
    """Probabilities (S, S) to a mask (height, width) in the image's own pixels."""
    return letterbox.restore(probability, height, width) > threshold
