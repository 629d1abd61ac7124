"""`barbench predict` and `panels` on a cell that was really trained."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from barbench.cli import app
from barbench.errors import UnknownName, UsageError
from barbench.results.record import Record
from barbench.results.store import Store


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "me.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 80, 3)).astype(np.uint8)).save(path)
    return path


def test_predict_writes_an_overlay_and_prints_a_row_an_expression(
    finished: tuple[Store, Record], backbone_folder: Path, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, record = finished
    monkeypatch.chdir(tmp_path)
    base = ["predict", str(photo), "the red man", "a star " * 30, "--results", str(store.folder)]
    base += ["--backbone", str(backbone_folder), "--threshold", "0.01"]
    for cell in ("etris", record.id, record.cell.stem()):
        answer = CliRunner().invoke(app, [*base, "--cell", cell, "--format", "csv"])
        assert answer.exception is None
    rows = list(csv.DictReader(io.StringIO(answer.stdout)))
    assert [row["expression"] for row in rows] == ["the red man", "a star " * 30]
    assert all(0 < float(row["coverage"]) <= 1 and 0 < float(row["score"]) <= 1 for row in rows)
    assert "is longer than the context and was cut" in answer.stderr
    assert "the red man" not in answer.stderr
    written = Image.open(tmp_path / "me-found.png")
    assert written.width > written.height
    table = CliRunner().invoke(app, [*base, "--cell", "etris", "--out", str(tmp_path / "x" / "y.png")])
    assert "y.png" in table.stdout
    assert (tmp_path / "x" / "y.png").is_file()
    assert isinstance(CliRunner().invoke(app, [*base, "--cell", "snf"]).exception, UnknownName)


def test_a_shells_list_of_photos_is_no_list_of_expressions(tmp_path: Path, photo: Path) -> None:
    """`predict *.jpg "the man"`: the second photo would be the first expression."""
    words = ["predict", str(photo), str(photo), "the man", "--cell", "snf", "--results", str(tmp_path)]
    answer = CliRunner().invoke(app, words)
    assert isinstance(answer.exception, UsageError)
    assert str(answer.exception).startswith(f"{photo} is a file and would be taken for an expression")
    words[2] = "a" * 5000
    answer = CliRunner().invoke(app, words)
    assert "no finished cell" in str(answer.exception), "a long expression is no file"


def test_panels_writes_sheets_and_their_list(
    finished: tuple[Store, Record], backbone_folder: Path, shapes_root: Path, tmp_path: Path
) -> None:
    out = tmp_path / "panels"
    arguments = ["panels", "--results", str(finished[0].folder), "--split", "refcocog-g", "--data", str(shapes_root)]
    arguments += ["--backbone", str(backbone_folder), "--out", str(out), "--pick", "fail,random", "--count", "2"]
    answer = CliRunner().invoke(app, arguments)
    assert answer.exception is None
    assert (
        "note: without Head only, SNF, SNF+ETRIS, No Global, BarLeRIa, Full fine-tuning: no finished" in answer.stderr
    )
    listed = json.loads((out / "panels.json").read_text())
    assert [entry["pick"] for entry in listed] == ["fail"] * 2 + ["random"] * 2
    expected = {entry["file"] for entry in listed} | {"overview-fail.png", "overview-random.png", "panels.json"}
    assert {path.name for path in out.iterdir()} == expected
    assert {Path(line).name for line in answer.stdout.split()} == expected
