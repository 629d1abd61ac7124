"""What tests of several rooms share: a small shapes folder, a small backbone that can read its words, one thread."""

import json
import os
import shutil
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # tests run in parallel, their worker processes too

import pytest

from barbench.datasets.shapes import ShapesSpec, make_shapes
from barbench.spec.backbone import EMBEDDED
from tests.models.small import HEAD, config

SPEC = ShapesSpec(train=16, val=4, testA=4, testB=4, sides=(64, 96), seed=3)


@pytest.fixture(scope="session")
def shapes_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty-eight small pictures in the REFER layout; not to be changed by a test."""
    root = tmp_path_factory.mktemp("shapes")
    make_shapes(root, SPEC)
    return root


@pytest.fixture(scope="session")
def backbone_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CLIP of six small blocks a tower, without weights, with the vocabulary of the embedded one."""
    folder, model = tmp_path_factory.mktemp("backbones") / "little", config("gelu")
    folder.mkdir()
    tiny = json.loads((EMBEDDED["tiny"] / "open_clip_config.json").read_text())["model_cfg"]["text_cfg"]
    model["text_cfg"] |= {key: tiny[key] for key in ("vocab_size", "context_length")}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": model, "preprocess_cfg": {}}))
    (folder / "barbench.json").write_text(json.dumps(HEAD))
    shutil.copy(EMBEDDED["tiny"] / "bpe.txt.gz", folder)
    return folder
