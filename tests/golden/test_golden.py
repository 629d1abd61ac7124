"""Parity with the public code: features, words, sentence, logits, loss and the gradient of every tuned parameter.

Each `.npz` says which repository and commit it was computed with; `filling` says how weights and inputs were made.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from barbench.methods.released import Format
from tests.golden import filling, modules
from tests.golden.measurements import HERE, assert_equal, filled, golden, groups, head_measured, measured

CASES: dict[str, tuple[str, Format, dict[str, Any]]] = {
    "etris-64": ("etris", "etris", {"bridge.dim": 64}),
    "etris-128": ("etris", "etris", {"bridge.dim": 128}),
    "no-global-released": ("no-global-released", "barleria", {}),
    "barleria-released": ("barleria-released", "barleria", {}),
}
RESNETS: dict[str, tuple[str, Format, dict[str, Any], int]] = {
    "etris-resnet": ("etris", "etris", {"bridge.dim": 8, "bridge.dropout": 0.0, "positional": "train"}, 12),
    "cris-resnet": ("cris", "cris", {}, 3),
}
HEAD = "cris-head"
DETRIS = "detris-model"  # tests/golden/test_detris.py


@pytest.mark.parametrize("case", CASES)
def test_equals_the_released_code(case: str, tmp_path: Path) -> None:
    method, format_, options = CASES[case]
    model = filled(tmp_path, method, format_, {**options, "positional": "train"})
    assert_equal(measured(model, format_), golden(case), groups(model, format_))


@pytest.mark.parametrize("case", RESNETS)
def test_equals_the_released_code_on_a_resnet(case: str, tmp_path: Path) -> None:
    """The public code there ran with the BatchNorms of its encoders in evaluation mode, `connect`'s apart, as ours."""
    method, format_, options, blocks = RESNETS[case]
    text = {**filling.CLIP["text_cfg"], "layers": blocks}
    clip = {**filling.CLIP, "vision_cfg": filling.RESNET, "text_cfg": text}
    model = filled(tmp_path, method, format_, options, clip, "cris" if method == "cris" else "etris")
    assert_equal(measured(model, format_, filling.four), golden(case), {})


def test_the_head_of_cris_equals_the_released_code() -> None:
    found = head_measured()
    assert_equal(found, golden(HEAD), {})


@pytest.mark.parametrize("case", modules.modules())
def test_a_module_equals_its_public_code(case: str) -> None:
    """Outputs and every gradient of one module, from the public class with the same weights and inputs."""
    assert_equal(modules.measured(case), golden(case), {})


def test_every_golden_file_is_used_and_names_its_source() -> None:
    assert {file.stem for file in HERE.glob("*.npz")} == {*CASES, *RESNETS, HEAD, DETRIS, *modules.modules()}
    for file in HERE.glob("*.npz"):
        with np.load(file) as arrays:
            assert str(arrays["source"]).startswith("https://github.com/")
            assert len(str(arrays["commit"])) == 40
