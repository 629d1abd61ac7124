"""Sizes and inputs that are functions of a name alone, so that a golden file needs to store none of them.

A golden file holds what the public code computed with `weight(name, shape)` of `barbench.regression.filling` for each
of its parameters and buffers, by its public name, and `inputs()`. Gradients of more than WHOLE values are stored as
their products with SKETCH rows of signs: every element enters, and the difference of two sketches estimates the
difference of the tensors.
"""

import math

import torch
from torch import Tensor

from barbench.regression.filling import uniform

WHOLE, SKETCH = 1024, 32
PATCH, CONTEXT, LENGTH, VOCABULARY = 16, 12, 9, 40
GRID, FIRST_GRID = 4, 3  # the image's, and that of the positions before they are resized
VISION, TEXT, JOINT, BLOCKS, HEAD_WIDTH = 24, 16, 20, 12, 8  # the released heads need decoder width = text width
CLIP = {
    "embed_dim": JOINT,
    "quick_gelu": True,
    "vision_cfg": {
        "image_size": FIRST_GRID * PATCH,
        "layers": BLOCKS,
        "width": VISION,
        "patch_size": PATCH,
        "head_width": HEAD_WIDTH,
    },
    "text_cfg": {
        "context_length": CONTEXT,
        "vocab_size": VOCABULARY,
        "width": TEXT,
        "heads": TEXT // HEAD_WIDTH,
        "layers": BLOCKS,
    },
}
RESNET = {"image_size": 96, "layers": [1, 1, 1, 1], "width": 8, "head_width": 64}  # positions are resized from 3 x 3
HEAD = {"width": TEXT, "ffn": 24, "heads": 4, "layers": 3, "dropout": 0.0}


def inputs() -> tuple[Tensor, Tensor, Tensor]:
    """image (2, 3, 64, 64), ids (2, LENGTH) with the end of text as the largest id, mask (2, 64, 64) of 0 and 1."""
    size = GRID * PATCH
    start, end = VOCABULARY - 2, VOCABULARY - 1
    ids = torch.tensor([[start, 5, 17, 3, end, 0, 0, 0, 0], [start, 8, 30, 2, 11, 25, 7, 19, end]])
    return 1.7 * uniform("image", (2, 3, size, size)), ids, (uniform("mask", (2, size, size)) > 0.2).float()


def four() -> tuple[Tensor, Tensor, Tensor]:
    """`inputs`, mirrored as well, with four sentences: over two a BatchNorm gives 1 and -1, and next to no gradient.

    In float64, since BatchNorms over the few cells of a ResNet's last map multiply rounding errors.
    """
    (image, ids, mask), end = inputs(), VOCABULARY - 1
    more = torch.tensor([[end - 1, 33, 4, 12, 9, end, 0, 0, 0], [end - 1, 21, 6, end, 0, 0, 0, 0, 0]])
    images, masks = torch.cat([image, image.flip(-1)]), torch.cat([mask, mask.flip(-1)])
    return images.double(), torch.cat([ids, more]), masks.double()


def features() -> tuple[tuple[Tensor, Tensor, Tensor], Tensor, Tensor, Tensor, Tensor]:
    """For a head alone: levels on grids of 8, 4 and 2, words, sentence, ids and mask of four images."""
    shapes = ((4, VISION, 8, 8), (4, VISION, 4, 4), (4, JOINT, 2, 2))
    levels = [2 * uniform(f"level{i}", shape) for i, shape in enumerate(shapes)]
    words, sentence = 2 * uniform("words", (4, LENGTH, TEXT)), 2 * uniform("sentence", (4, JOINT))
    mask = (uniform("mask", (4, GRID * PATCH, GRID * PATCH)) > 0.2).float()
    return (levels[0], levels[1], levels[2]), words, sentence, inputs()[1].repeat(2, 1), mask


def stored(name: str, gradient: Tensor) -> Tensor:
    """A gradient as a golden file holds it: whole, or its sketch (SKETCH,)."""
    if gradient.numel() <= WHOLE:
        return gradient
    signs = uniform(f"signs of {name}", (SKETCH, gradient.numel())).sign()
    return (signs.double() @ gradient.flatten().double()).float() / math.sqrt(gradient.numel())
