"""The tables of objects and sentences: from the arrays beside records of any age, and from nothing else."""

from pathlib import Path

import numpy as np
import pytest

from barbench.errors import UnknownName, UsageError
from barbench.metrics import Columns
from barbench.reports.formats import markdown
from barbench.reports.tables.grouping import group
from barbench.reports.tables.objects import NUMBER, object_tables
from barbench.reports.write import EXTRA, write_reports
from barbench.results.resampled import ResampledScores
from barbench.results.store import Store
from tests.metrics.test_objects import HAND
from tests.reports import runs
from tests.reports.conftest import Make

IDS = {"sent_id": np.arange(7), "words": np.full(7, 3)}
CONTROL = {"control_intersection": np.zeros(7, np.int64), "control_union": np.ones(7, np.int64)}


def put_hand(store: Store, make: Make, columns: Columns = HAND, **cell: object) -> None:
    record = make("etris", "refcoco+", {"val": 65.0}, **cell)
    arrays = {f"val/{name}": column for name, column in {**columns, **IDS, **CONTROL}.items()}
    store.save(record, arrays)


def tables_of(store: Store) -> list[str]:
    return [markdown.render(table) for table in EXTRA[NUMBER].build(group(store.all()), ResampledScores(store))]


def cells(text: str, label: str = "ETRIS") -> list[str]:
    row = next(line for line in text.splitlines() if line.startswith(f"| {label}"))
    return [cell.strip() for cell in row.strip("|").split("|")]


def test_the_example_by_hand(make: Make, tmp_path: Path) -> None:
    store = Store(tmp_path)
    put_hand(store, make)
    objects, intervals, precision, size = tables_of(store)
    # Two images: t is 12.7, so that a margin says little.
    shown = [cell.partition("±")[0] for cell in cells(objects)]
    assert shown == ["ETRIS", "66.7", "33.3", "33.3", "46.7", "64.7", "28.6", "0.23"]
    assert "3 objects, 3 of them with two sentences or more" in objects
    # 12.706 x 15.7143, and t of two degrees of freedom, 4.303 x 13.0345.
    assert cells(intervals)[1:4] == ["65.0±199.7", "65.0±56.1", "1.45"]
    assert cells(precision)[7:10] == ["57.1", "71.4", "1"]
    assert cells(size, "expressions") == ["expressions", "0", "7", "0", "7", "0", "0"]


def test_seeds_are_averaged(make: Make, tmp_path: Path) -> None:
    store = Store(tmp_path)
    put_hand(store, make, seed=0)
    put_hand(store, make, {**HAND, "intersection": HAND["union"]}, seed=1)
    objects, intervals, precision, _ = tables_of(store)
    assert cells(objects)[2].startswith("66.7±")
    assert cells(intervals)[1].startswith("82.5±")
    assert cells(precision)[7:9] == ["78.6", "85.7"]


def test_several_references_of_one_object_are_named(make: Make, tmp_path: Path) -> None:
    store = Store(tmp_path)
    put_hand(store, make, {**HAND, "ref_id": np.array([1, 1, 4, 2, 2, 3, 3])})
    assert "object 10 of image 1 (references 1, 4)" in tables_of(store)[0]


def test_records_without_counts_have_no_tables(make: Make, tmp_path: Path) -> None:
    store = Store(tmp_path / "results")
    store.save(make("etris", "refcoco+", {"val": 65.0}))
    assert tables_of(store) == []
    assert not object_tables(group(store.all())[0], ResampledScores(store))
    with pytest.raises(UsageError, match="'objects' needs the counts of single expressions"):
        write_reports(store, tmp_path / "out", ["objects"])
    with pytest.raises(UnknownName, match=r"unknown table 'obj'.*objects"):
        write_reports(store, tmp_path / "out", ["obj"])


def test_expressions_with_several_objects_have_no_tables(make: Make, tmp_path: Path) -> None:
    store = Store(tmp_path)
    put_hand(store, make, {**HAND, "targets": np.ones(7, np.int64)})
    assert tables_of(store) == []


def test_every_format_has_them(make: Make, tmp_path: Path) -> None:
    store = Store(tmp_path / "results")
    for method in ("etris", "barleria"):
        runs.save(store, make, method, "refcoco+")
    out = tmp_path / "out"
    names = [path.name for path in write_reports(store, out, formats=["md", "latex", "html"]).paths]
    assert {"objects.md", "objects.tex", "report.html"} <= set(names)
    page = (out / "report.html").read_text()
    assert page.count(">Objects and sentences</") >= 2
    assert "Mean IoU by size" in page
    # The paper's tables stay the paper's.
    assert "Objects and sentences" not in (out / "table5.md").read_text()
