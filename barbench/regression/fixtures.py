"""What the sections measure: methods on the tiny backbone, and a small folder of shapes."""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from accelerate import Accelerator

from barbench.datasets.pixels.letterbox import Letterbox
from barbench.datasets.refer import read_refer
from barbench.datasets.references import ReferData, ReferSplit
from barbench.datasets.samples import EvalSamples, TrainSamples
from barbench.datasets.shapes import ShapesSpec
from barbench.datasets.sources import shapes_source
from barbench.datasets.tokens import Tokens
from barbench.engine.checkpoint import Checkpoint
from barbench.engine.seeding import seed_everything
from barbench.engine.train import fit
from barbench.engine.training_state import StepLog
from barbench.methods.build import build_segmenter
from barbench.methods.catalog import METHODS, MethodSpec
from barbench.methods.entry import in_proportion
from barbench.models.segmenter import Segmenter
from barbench.models.towers.base import Backbone
from barbench.models.towers.load import load_backbone
from barbench.paper.partitions import PAPER_PARTITIONS
from barbench.paper.tables import PAPER_METHODS
from barbench.regression.filling import fill
from barbench.spec.backbone import backbone_config
from barbench.spec.recipe import Recipe

BACKBONE = "tiny"
IMAGE_SIZE = 64
DATASET = PAPER_PARTITIONS.get("refcoco+")
SHAPES = ShapesSpec(train=160, val=24, testA=1, testB=1, sides=(64, 96), seed=5)
SCORED = ShapesSpec(train=240, val=60, testA=1, testB=1, seed=5)
PAPER = [METHODS.get(name) for name in PAPER_METHODS]
ENCODERS = ("vision.", "text.")


def backbone() -> Backbone:
    """The frozen encoders with their pretrained weights, loaded again at each call, because a method may tune them."""
    return load_backbone(BACKBONE, image_size=IMAGE_SIZE)


def segmenter(spec: MethodSpec, seed: int = 0) -> Segmenter:
    """A method's model at the start of a cell, with its sizes in proportion to the backbone."""
    sizes = in_proportion([spec], backbone_config(BACKBONE), None)[spec.name]
    return build_segmenter(spec, backbone(), seed, sizes)


def filled(spec: MethodSpec) -> Segmenter:
    """A model with pretrained encoders; head and method have weights computed from their names, so that no part is near
    the identity."""
    model = segmenter(spec)
    fill(model, but=ENCODERS)
    return model


def shapes(spec: ShapesSpec = SHAPES) -> ReferData:
    """A small dataset, from the cache."""
    return read_refer(shapes_source(spec).root, DATASET)


def training(data: ReferData, count: int | None = None, seed: int = 0) -> TrainSamples:
    """The first `count` references of the training split."""
    return TrainSamples(_first(data, "train", count), *_transforms(), seed)


def evaluation(data: ReferData, count: int | None = None) -> EvalSamples:
    """All expressions of the first `count` references of the validation split."""
    return EvalSamples(_first(data, "val", count), *_transforms())


def train(
    model: Segmenter, samples: TrainSamples, recipe: Recipe, seed: int, on_step: Callable[[StepLog], None] | None = None
) -> None:
    """Train in place, as a cell does; no checkpoint is kept."""
    # `fit` needs a checkpoint, which here is never read again.
    seed_everything(seed)
    with TemporaryDirectory() as folder:
        checkpoint = Checkpoint(Path(folder) / "state", "check")
        fit(model, samples, recipe, accelerator(), seed=seed, checkpoint=checkpoint, on_step=on_step)


def accelerator() -> Accelerator:
    """The CPU in single precision, as for the baseline."""
    return Accelerator(cpu=True, mixed_precision="no")


def _first(data: ReferData, split: str, count: int | None) -> ReferSplit:
    whole = data.split(split)
    return ReferSplit(whole.name, whole.references[:count], data)


def _transforms() -> tuple[Letterbox, Tokens]:
    return Letterbox(IMAGE_SIZE), Tokens(backbone().tokenizer, DATASET.context_length)
