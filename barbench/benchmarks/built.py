"""The model of a cell, as training starts from it, and what feeds it: for the worker, `barbench predict` and
`panels`."""

from typing import NamedTuple

from barbench.datasets.mixtures import TASKS
from barbench.datasets.tokens import Tokens
from barbench.datasets.transforms import Letterbox
from barbench.methods.resolve import build_segmenter, resolve
from barbench.models.segmenter import Segmenter
from barbench.models.towers.load import load_backbone
from barbench.results.record import Cell


class Built(NamedTuple):
    """`segmenter` on the CPU; images of the size and expressions of the length that it takes."""

    segmenter: Segmenter
    letterbox: Letterbox
    tokens: Tokens


def build(cell: Cell, reference: str, backbone: str, weights: str) -> Built:
    """`reference` finds the method in this process, `backbone` and `weights` what the cell names but does not place.

    Raises what `load_backbone` and `resolve` raise.
    """
    frozen = load_backbone(backbone, weights, cell.image_size, seed=cell.seed)
    segmenter = build_segmenter(resolve(reference)[0], frozen, cell.seed, cell.options)
    tokens = Tokens(frozen.tokenizer, TASKS.get(cell.protocol).words)
    return Built(segmenter, Letterbox(frozen.image_size), tokens)
