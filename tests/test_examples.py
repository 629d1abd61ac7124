"""The examples run as they stand, each in a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from barbench.results.store import Store
from tests.results.cells import put_cell

EXAMPLES = Path(__file__).parents[1] / "examples"
DESIGN = """
import barbench as bb
data = bb.open_data("shapes", "refcoco+")
model = bb.build_segmenter("barleria", backbone="tiny")
bb.fit(model, data, recipe="demo", max_steps=10)
print(bb.evaluate(model, data, "val").metrics)
frame = bb.load_results("results")
"""


def run(code: str, folder: Path) -> str:
    """What `code` prints in a fresh Python in `folder`, with a cache that other tests may have filled."""
    home = {
        "MPLBACKEND": "agg",
        "PYTHONPATH": os.pathsep.join([str(EXAMPLES.parent), os.environ.get("PYTHONPATH", "")]),
    }
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, env=os.environ | home, timeout=600
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def code_of(notebook: str) -> str:
    cells = json.loads((EXAMPLES / notebook).read_text("utf-8"))["cells"]
    return "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")


@pytest.mark.slow
def test_six_lines_train_and_score(tmp_path: Path) -> None:
    assert "expressions" in run(DESIGN, tmp_path)


def test_the_package_shows_these_lines() -> None:
    import barbench

    shown = [line.strip() for line in (barbench.__doc__ or "").splitlines()]
    assert all(line in shown for line in DESIGN.strip().splitlines())


@pytest.mark.slow
def test_own_method(tmp_path: Path) -> None:
    printed = run(code_of("own_method.ipynb"), tmp_path)
    assert "step 10: loss" in printed
    assert "mIoU" in printed


def test_figure_for_a_paper(tmp_path: Path) -> None:
    store = Store(tmp_path / "results")
    for seed in (0, 1):
        put_cell(store, "etris", better=0.1, seed=seed)
        put_cell(store, "snf", seed=seed)
    printed = run(code_of("figure_for_a_paper.ipynb"), tmp_path)
    assert "val: -10.0 points, 95 % interval" in printed
    assert (tmp_path / "parameters.pdf").read_bytes().startswith(b"%PDF")


def test_notebooks_are_committed_without_outputs() -> None:
    for path in EXAMPLES.glob("*.ipynb"):
        cells = json.loads(path.read_text("utf-8"))["cells"]
        assert not any(cell.get("outputs") or cell.get("execution_count") for cell in cells), path.name
