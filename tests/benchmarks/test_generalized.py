"""`barbench run --dataset grefcoco` from the files to a table."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from barbench.metrics import iou
from tests.datasets.generalized import write_grefcoco

REPOSITORY = Path(__file__).parents[2]


@pytest.mark.slow
def test_grefcoco_trains_is_evaluated_and_stands_in_a_table(tmp_path: Path) -> None:
    root = write_grefcoco(tmp_path / "data")

    def barbench(*arguments: str) -> str:
        command = [sys.executable, "-m", "barbench.cli", *arguments]
        made = subprocess.run(command, cwd=REPOSITORY, env=os.environ, capture_output=True, text=True)
        assert made.returncode == 0, made.stderr + made.stdout
        return made.stdout

    results = ("--results", str(tmp_path / "results"))
    printed = barbench(
        *("run", "--methods", "head-only", "--backbone", "tiny", "--recipe", "demo", "--split", "grefcoco"),
        *("--set", "epochs=2", "--set", "batch=4", "--device", "cpu", "--data", str(root), "--cache", "off"),
        *("--reports", str(tmp_path / "reports"), *results),
    )
    assert "gRefCOCO" in printed
    assert "N-acc" in printed
    [path] = (tmp_path / "results").glob("*.json")
    record, arrays = json.loads(path.read_text()), np.load(path.with_suffix(".npz"))
    for split, found in record["splits"].items():
        counts = {name: arrays[f"{split}/{name}"] for name in ("intersection", "union", "targets", "area")}
        nothing = counts["targets"] == 0
        scores = found["scores"]
        assert scores["n"] == len(nothing)
        assert scores["giou"] == pytest.approx(iou(counts["intersection"], counts["union"], counts["targets"]).mean())
        assert scores["n_acc"] == pytest.approx((counts["union"][nothing] == 0).mean())
        predicted = counts["union"] - counts["area"] + counts["intersection"]
        assert not ((predicted > 0) & (predicted < 50)).any()
        assert scores["t_acc"] == pytest.approx((predicted[~nothing] > 0).mean())
    panels = barbench(
        *("panels", "--methods", "head-only", "--split", "grefcoco", "--data", str(root), "--pick", "random"),
        *("--count", "2", "--device", "cpu", "--out", str(tmp_path / "panels"), *results),
    )
    assert panels.count("random-sentence-") == 2
