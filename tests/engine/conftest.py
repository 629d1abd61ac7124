"""A segmenter on a small backbone, samples of the shapes folder, and an accelerator on the CPU."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from barbench.datasets.pixels.letterbox import Letterbox
from barbench.datasets.refer import read_refer
from barbench.datasets.references import ReferData
from barbench.datasets.samples import EvalSamples, TrainSamples
from barbench.datasets.tokens import Tokens
from barbench.methods.build import build_segmenter
from barbench.methods.resolve import resolve
from barbench.models.segmenter import Segmenter
from barbench.models.towers.base import Backbone
from barbench.models.towers.load import load_backbone
from barbench.paper.partitions import PAPER_PARTITIONS
from barbench.spec.recipe import Recipe, parse_recipe
from tests.models.small import SIZE


@pytest.fixture(scope="session")
def data(shapes_root: Path) -> ReferData:
    """The shapes folder, read as RefCOCO+."""
    return read_refer(shapes_root, PAPER_PARTITIONS.get("refcoco+"))


@pytest.fixture
def little(backbone_folder: Path) -> Backbone:
    """A small backbone with random weights."""
    return load_backbone(str(backbone_folder), "random", seed=0)


@pytest.fixture
def build(backbone_folder: Path) -> Callable[..., Segmenter]:
    """Builds a method's segmenter on its own backbone."""

    def make(method: str = "barleria", seed: int = 0) -> Segmenter:
        return build_segmenter(resolve(method)[0], load_backbone(str(backbone_folder), "random", seed=0), seed)

    return make


@pytest.fixture
def train_samples(data: ReferData, little: Backbone) -> TrainSamples:
    """The training split, with a context length of 17."""
    return TrainSamples(data.split("train"), Letterbox(SIZE), Tokens(little.tokenizer, 17), seed=0)


@pytest.fixture
def val_samples(data: ReferData, little: Backbone) -> EvalSamples:
    """The val split, with a context length of 17."""
    return EvalSamples(data.split("val"), Letterbox(SIZE), Tokens(little.tokenizer, 17))


@pytest.fixture
def accelerator() -> Accelerator:
    """An accelerator on the CPU in fp32, whatever another test has set up."""
    AcceleratorState._reset_state()  # accelerators share one state, and another test may have set bf16
    return Accelerator(cpu=True)


@pytest.fixture
def recipe() -> Callable[..., Recipe]:
    """Makes short recipes: two epochs of AdamW, with any field changed."""

    def make(**changes: Any) -> Recipe:
        fields: dict[str, Any] = {"epochs": 2, "batch": 8, "optimizer": "adamw", "lr": 1e-3, "weight_decay": 0.01}
        return parse_recipe("test", fields | changes)

    return make
