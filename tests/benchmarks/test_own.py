"""Cells of data sets of one's own, and of another context length: their identity, and a run from a table on."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from barbench.benchmarks import matrix
from barbench.errors import UsageError
from barbench.results.record import Cell
from barbench.spec.run import Place, Run
from tests.datasets.importers import forms
from tests.datasets.importers.release import Release
from tests.datasets.importers.small_table import imported, photo, rows, write_csv

REPOSITORY = Path(__file__).parents[2]


def cells(root: Path, **fields: object) -> list[Cell]:
    run = Run.of({"methods": "snf", "backbones": "tiny", "recipe": "demo", "data": str(root)}, **fields)
    return [job.cell for job in matrix.cells(run, Place())]


def test_the_context_is_part_of_a_cell_where_it_is_not_the_splits_own(tmp_path: Path) -> None:
    root = Release().write(tmp_path / "root")
    [plain], [same], [longer] = (cells(root, datasets="refcoco", context_length=c) for c in (None, 17, 30))
    assert plain.id() == same.id() != longer.id()
    assert (plain.context_length, longer.context_length) == (None, 30)
    assert "context_length" not in plain.model_dump(exclude_defaults=True)
    with pytest.raises(UsageError, match=r"a context of 200 tokens is longer than tiny's, which is \d+"):
        cells(root, datasets="refcoco", context_length=200)
    assert matrix.choose_datasets(["refcoco"])[0].context_length == 17


@pytest.mark.slow
def test_a_table_is_imported_trained_and_evaluated(tmp_path: Path) -> None:
    folder = forms.table(Release(), tmp_path / "source", masks=True)
    table = (folder / "refcoco.csv").rename(folder / "mine.csv")

    def barbench(*arguments: str) -> None:
        command = [sys.executable, "-m", "barbench.cli", *arguments]
        made = subprocess.run(command, cwd=REPOSITORY, env=os.environ, capture_output=True, text=True)
        assert made.returncode == 0, made.stderr + made.stdout

    root, results = str(tmp_path / "root"), ("--results", str(tmp_path / "results"))
    barbench("data", "import", str(table), root)
    barbench("data", "verify", root)
    barbench(
        *("run", "--methods", "head-only", "--backbone", "tiny", "--recipe", "demo", "--split", "mine", "--data", root),
        *("--set", "epochs=1", "--set", "batch=4", "--device", "cpu", "--cache", "off", "--context", "30", *results),
        *("--reports", str(tmp_path / "reports")),
    )
    [path] = (tmp_path / "results").glob("*.json")
    record = json.loads(path.read_text())
    assert (record["cell"]["dataset"], record["cell"]["context_length"]) == ("mine", 30)
    assert sorted(record["splits"]) == ["testA", "testB", "val"]
    barbench(
        *("panels", "--methods", "head-only", "--split", "mine", "--data", root, "--pick", "random", "--count", "1"),
        *("--device", "cpu", "--out", str(tmp_path / "panels"), *results),
    )
    photo = next((tmp_path / "root/images/train2014").iterdir())
    barbench("predict", str(photo), "left thing", "--cell", "head-only", "--out", str(tmp_path / "p.png"), *results)


def test_the_turn_in_a_data_sets_own_file_is_part_of_its_cells(tmp_path: Path) -> None:
    """`exif: apply` of a protocol.yaml is what `--exif apply` says for one run; other data sets have the run's."""
    made = rows(tmp_path)
    for number, row in enumerate(made):
        photo(tmp_path / f"a{number}.jpg", 60 + number, turn=6)
        row["image"] = f"a{number}.jpg"
    imported(write_csv(tmp_path / "mine.csv", made), exif="apply")
    [cell] = cells(tmp_path / "root", datasets="mine")
    assert cell.exif == "apply"
    assert cells(Release().write(tmp_path / "other"), datasets="refcoco")[0].exif == "stored"
