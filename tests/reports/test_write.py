"""Files from a results folder: named, complete, the same bytes for the same records, and no torch on the way."""

import random
import subprocess
import sys
from pathlib import Path

import pytest

from barbench.errors import UnknownName, UsageError
from barbench.reports.write import write_reports
from barbench.results.store import Store


def records(make):
    return [
        make(method, protocol, {"val": 40 + i, "testA": 41 + i}, seed=seed, recipe={"name": recipe})
        for i, method in enumerate(("etris", "snf", "barleria"))
        for protocol in ("refcoco", "refcoco+")
        for seed in (0, 1)
        for recipe in ("demo", "paper")
    ]


def test_same_records_same_bytes(make, tmp_path: Path) -> None:
    written = []
    for name in ("a", "b"):
        shuffled = records(make)
        random.Random(name).shuffle(shuffled)
        store = Store(tmp_path / name)
        for record in shuffled:
            store.save(record)
        paths = write_reports(store, tmp_path / f"{name}-reports").paths
        assert [path.name for path in paths] == [f"table{n}.{suffix}" for suffix in ("md", "tex") for n in range(1, 6)]
        written.append([path.read_bytes() for path in paths])
    assert written[0] == written[1]


def test_one_file_holds_the_tables_of_every_condition(make, tmp_path: Path) -> None:
    for record in records(make):
        Store(tmp_path / "results").save(record)
    [md, tex] = write_reports(Store(tmp_path / "results"), tmp_path / "out", tables=["5"]).paths
    assert md.read_text().count("### ") == 2
    assert [name in md.read_text() for name in ("recipe demo", "recipe paper")] == [True, True]
    labels = [r"\label{tab:barbench-5}", r"\label{tab:barbench-5-2}"]
    assert [tex.read_text().count(label) for label in labels] == [1, 1]
    assert tex.read_text().startswith("% \\usepackage{booktabs,graphicx}\n")


def test_wrong_requests_are_explained(make, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no records"):
        write_reports(Store(tmp_path), tmp_path / "out")
    Store(tmp_path).save(records(make)[0])
    with pytest.raises(UnknownName, match="unknown format 'pdf'"):
        write_reports(Store(tmp_path), tmp_path / "out", formats=["pdf"])
    with pytest.raises(UnknownName, match="unknown table '9'"):
        write_reports(Store(tmp_path), tmp_path / "out", tables=["4", "9"])
    assert not (tmp_path / "out").exists()


def test_reports_need_no_torch() -> None:
    code = (
        "import sys, barbench.results, barbench.reports.write, barbench.reports.formats.terminal;"
        "print([name for name in ('torch', 'open_clip', 'accelerate', 'matplotlib') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
