"""Exact sections: parameter ledger, FLOPs of a forward pass, and bytes saved for the backward pass, for every
method."""

from collections.abc import Callable

from torch import Tensor

from barbench.engine import profile
from barbench.methods.build import build_segmenter
from barbench.models.segmenter import Segmenter
from barbench.models.towers.load import load_backbone
from barbench.progress import OnProgress
from barbench.regression.fixtures import DATASET, IMAGE_SIZE, segmenter
from barbench.regression.rules import Values
from tools.gate.fixtures import ALL

BATCH = 2
LARGE = "ViT-B-16-quickgelu"  # the paper's, without values: only its shapes are needed


def ledger(progress: OnProgress) -> Values:
    """`<method>/<group>` on the embedded backbone, `<method> ViT-B/16/<group>` on the paper's."""
    found: dict[str, int] = {}
    for number, spec in enumerate(ALL):
        small = segmenter(spec)
        large = build_segmenter(spec, load_backbone(LARGE, "random", device="meta"))
        for name, model in ((spec.name, small), (f"{spec.name} ViT-B/16", large)):
            for group, count in model.ledger().items():
                found[f"{name}/{group}"] = count
        progress(number + 1, len(ALL))
    return found


def flops(progress: OnProgress) -> Values:
    """FLOPs of one image and expression, by method; a multiply-add counts as two."""
    return _each(progress, lambda model, image, ids, mask: profile.flops_forward(model, image, ids))


def memory(progress: OnProgress) -> Values:
    """Bytes that autograd saves for a batch of BATCH, by method."""
    return _each(progress, profile.saved_bytes)


def _each(progress: OnProgress, measure: Callable[[Segmenter, Tensor, Tensor, Tensor], int]) -> Values:
    """`measure` applied to every method's model and an example batch."""
    found = {}
    for number, spec in enumerate(ALL):
        model = segmenter(spec)
        image, ids, mask = profile.example_batch(model, IMAGE_SIZE, DATASET.context_length, BATCH)
        found[spec.name] = measure(model, image, ids, mask)
        progress(number + 1, len(ALL))
    return found
