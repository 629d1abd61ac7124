"""From images and expressions to masks: against the formulas, and shared images against repeated ones."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from accelerate import Accelerator

from barbench.datasets.pixels.letterbox import Letterbox, normalized
from barbench.datasets.samples import EvalSamples
from barbench.engine.predict import predict, probabilities, to_mask
from barbench.models.segmenter import Segmenter
from barbench.spec.backbone import CLIP_NORMALIZATION, Normalization
from tests.engine.resize_reference import weights
from tests.models.small import SIZE

GRID = 24


def test_probabilities_put_corners_on_corners() -> None:
    logits = torch.randn(2, 1, GRID, GRID)
    found = probabilities(logits, SIZE).numpy()
    up = weights(np.arange(SIZE) * (GRID - 1) / (SIZE - 1), GRID, clamp=True)
    probability = logits.sigmoid().double().numpy()[:, 0]
    assert found == pytest.approx(up @ probability @ up.T, abs=1e-5)
    assert found[:, 0, 0] == pytest.approx(probability[:, 0, 0], abs=1e-6)
    assert found[:, -1, -1] == pytest.approx(probability[:, -1, -1], abs=1e-6)


def test_to_mask_is_above_the_threshold() -> None:
    probability = np.full((SIZE, SIZE), 0.35, np.float32)
    above, below = (to_mask(probability, Letterbox(SIZE), 40, 60, threshold) for threshold in (0.34, 0.36))
    assert above.shape == (40, 60)
    assert above[5:-5, 5:-5].all()
    assert not below[5:-5, 5:-5].any()


@pytest.mark.parametrize("method", ["etris", "snf", "barleria"])
def test_images_shared_by_expressions(
    method: str, build: Callable[..., Segmenter], val_samples: EvalSamples, accelerator: Accelerator
) -> None:
    segmenter = build(method).eval()
    batch = val_samples[list(range(7))]
    found = predict(segmenter, batch.images, batch.ids, accelerator, batch.rows)
    each = predict(segmenter, batch.images[batch.rows], batch.ids, accelerator)
    with torch.no_grad():
        logits = segmenter(normalized(batch.images, CLIP_NORMALIZATION)[batch.rows], batch.ids).logits
    assert len(batch.images) < len(batch.ids)
    assert found.shape == (7, SIZE, SIZE)
    assert found == pytest.approx(each, abs=1e-5)
    assert found == pytest.approx(probabilities(logits, SIZE).numpy(), abs=1e-5)


def test_pixels_are_normalized_as_the_backbone_says(
    build: Callable[..., Segmenter], val_samples: EvalSamples, accelerator: Accelerator
) -> None:
    """A step's loss is tested in `test_step`."""
    segmenter = build("etris").eval()
    batch = val_samples[list(range(3))]
    segmenter.normalization = Normalization((0.1, 0.5, 0.9), (0.5, 0.5, 0.5))
    with torch.no_grad():
        pixels = normalized(batch.images, segmenter.normalization)[batch.rows]
        expected = probabilities(segmenter(pixels, batch.ids).logits, SIZE)
    found = predict(segmenter, batch.images, batch.ids, accelerator, batch.rows)
    torch.testing.assert_close(torch.from_numpy(found), expected)
    segmenter.normalization = CLIP_NORMALIZATION
    assert not np.allclose(predict(segmenter, batch.images, batch.ids, accelerator, batch.rows), found, atol=1e-3)
