"""Evaluations as a matrix: which records are in it, its numbers, its marks, and its drawing on the page."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from barbench.metrics import Scores
from barbench.reports.page.across import across_parts
from barbench.reports.tables.across import across_table, matrices, word_tables
from barbench.reports.write import write_reports
from barbench.results.evaluations import Evaluated, EvaluationRecord, Leaks, load, save
from barbench.results.record import Cell, DataIdentity
from barbench.results.store import Store
from tests.results.cells import expressions, put_cell


def scores(miou: float) -> Scores:
    return Scores(miou=miou, oiou=0.5, p50=0.5, p60=0.4, p70=0.3, p80=0.2, p90=0.1, n=36)


def put(
    store: Store,
    cell: Cell,
    dataset: str,
    miou: float,
    leaks: Leaks | None = None,
    changed: int | None = None,
    columns: dict[str, Any] | None = None,
    **fields: Any,
) -> None:
    evaluated = Evaluated(
        cell=cell.id(), tuned="ab", dataset=dataset, split="val", threshold=0.35, context_length=17,
        data=DataIdentity(kind="shapes", fingerprint="f00d"), **fields,
    )  # fmt: skip
    record = EvaluationRecord(
        id=evaluated.id(), evaluated=evaluated, cell=cell, title=cell.method.upper(), scores=scores(miou),
        leaks=leaks or Leaks(shared_images=0), images=12, references=12, cut=0,
        changed=changed,
    )  # fmt: skip
    save(store, record, expressions(0) | (columns or {}))
    found = load(store, cell, evaluated)
    assert found is not None
    assert found.record.scores == record.scores


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Cells of two seeds trained on refcoco and refcoco+, each evaluated on both; one more in other words."""
    made = Store(tmp_path / "results")
    for dataset, here, there in (("refcoco", 0.5, 0.3), ("refcoco+", 0.4, 0.2)):
        for seed in (0, 1):
            cell = put_cell(made, "etris", dataset=dataset, seed=seed).cell
            put(made, cell, "refcoco", here + 0.02 * seed)
            unknown = Leaks(why_unknown="a test")
            shared = Leaks(shared_images=4, without_shared=scores(0.1))
            put(made, cell, "refcoco+", there, unknown if dataset == "refcoco" else shared)
            put(made, cell, "refcoco", 0.01, text="empty", changed=36)
    return made


def test_each_place_is_the_mean_of_its_seeds_and_other_words_are_in_none(store: Store) -> None:
    [matrix] = matrices(store.folder)
    table = across_table(matrix)
    assert [[entry.text for entry in row] for row in table.rows] == [
        ["refcoco", "51.0", "30.0"],
        ["refcoco+", "41.0", "20.0"],
    ]
    assert [(header.group, header.name) for header in table.headers[1:]] == [("RefCOCO", "val"), ("RefCOCO+", "val")]
    assert [row[2].footnotes for row in table.rows] == [(1,), (2,)]
    assert table.footnotes == (
        "It is not known whether images of this split trained the model.",
        "4 images of this split trained the model; 10.0 without them.",
    )
    assert table.caption.startswith("Backbone tiny")


def test_the_records_of_cells_and_evaluations_are_apart(store: Store, tmp_path: Path) -> None:
    written = write_reports(store, tmp_path / "out", ["5", "across"], ("md",))
    titles = [table.title for table in written.tables["across"]]
    assert titles == [
        "ETRIS: trained on A, evaluated on B",
        "In other words: RefCOCO val, trained on refcoco",
        "In other words: RefCOCO val, trained on refcoco+",
    ]
    own = (tmp_path / "out/table5.md").read_text()
    assert "51.0" not in own, "cells were scored with 50.0"
    assert "51.0" in (tmp_path / "out/across.md").read_text()
    assert len(store.all()) == 4


def test_other_words_are_a_column_each_and_the_best_method_comes_first(tmp_path: Path) -> None:
    """Of expressions that mean nothing 3 of 36 masks are empty; a peak of 30 against 10, 30 and 50 of a third each."""
    made = Store(tmp_path)
    peaks = {"peak": np.full(36, 30)}
    union = np.full(36, 500)
    union[:3] = 100
    nothing = {"area": np.full(36, 100), "intersection": np.zeros(36, int), "union": union}
    for method, score in (("etris", 0.3), ("snf", 0.4)):
        cell = put_cell(made, method).cell
        put(made, cell, "refcoco+", score, columns=peaks)
        put(made, cell, "refcoco+", score / 2, text="shuffle", text_seed=4, changed=30)
        absent = nothing | {"peak": np.repeat([10, 30, 50], 12)}
        put(made, cell, "refcoco+", 0.1, text="other-image", changed=36, columns=absent)
    [table] = word_tables(tmp_path)
    assert [header.name for header in table.headers] == [
        "Method", "original", "other-image", "shuffle", "empty masks", "AUROC of peak",
    ]  # fmt: skip
    rows = [[entry.text for entry in row][1:] for row in table.rows]
    assert rows == [["40.0", "10.0", "20.0", "8.3", "50.0"], ["30.0", "10.0", "15.0", "8.3", "50.0"]]
    assert "all 36 expressions; words are others in 36 (other-image) and 30 (shuffle)" in table.notes[0]


def test_a_limit_is_another_matrix(store: Store) -> None:
    cell = store.all()[0].cell
    put(store, cell, "refcoco", 0.9, limit=5)
    assert len(matrices(store.folder)) == 2


def test_the_page_has_a_tile_for_each_place(store: Store, tmp_path: Path) -> None:
    [part] = across_parts(store.folder)
    for text in ("51.0", "30.0", "41.0", "20.0"):
        assert f">{text}</text>" in part.svg
    write_reports(store, tmp_path / "out", ["5"], ("html",))
    page = (tmp_path / "out/report.html").read_text()
    assert '<section id="across">' in page
    assert part.svg in page


def test_without_evaluations_there_is_no_section(tmp_path: Path) -> None:
    put_cell(Store(tmp_path / "results"), "etris")
    assert across_parts(tmp_path / "results") == []
