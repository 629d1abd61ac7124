"""The matrix of all pairs against differences that are computed here from the counts of single expressions."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from barbench.reports.tables.columns import shared_score
from barbench.reports.tables.grouping import group
from barbench.reports.tables.pairs import NUMBER
from barbench.reports.tables.significance import compare_pairs, rank_rows
from barbench.reports.write import EXTRA
from barbench.results.resampled import ResampledScores
from barbench.results.store import Store
from tests.reports import runs
from tests.reports.conftest import Make

SKILLS = {"head-only": 0.3, "etris": 0.5, "snf": 0.505, "barleria": 0.6, "full": 0.62}


@pytest.fixture(scope="module")
def store(make: Make, tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store(tmp_path_factory.mktemp("results"))
    for seed in (0, 1):
        for method, skill in SKILLS.items():
            runs.save(store, make, method, "refcoco", skill=skill, seed=seed)
    return store


def mean_iou(store: Store, method: str) -> float:
    """Over the three splits alike, and over the seeds."""
    scores = []
    for record in store.all():
        if record.cell.method == method:
            columns = store.expressions(record.cell)
            for split in ("val", "testA", "testB"):
                ious = columns[f"{split}/intersection"] / np.maximum(columns[f"{split}/union"], 1)
                scores.append(100 * float(ious.mean()))
    return float(np.mean(scores))


def test_each_entry_is_row_minus_column_and_the_opposite_of_its_mirror(store: Store) -> None:
    (table,) = EXTRA[NUMBER].build(group(store.all()), ResampledScores(store))
    titles = {record.title: record.cell.method for record in store.all()}
    names = [header.name for header in table.headers[1:]]
    assert names == ["Head only", "ETRIS", "SNF", "BarLeRIa", "Full fine-tuning"]
    entries = {}
    for row in table.rows:
        for column, entry in zip(names, row[1:], strict=True):
            entries[row[0].text, column] = entry
    for row, column in combinations(names, 2):
        entry = entries[row, column]
        expected = mean_iou(store, titles[row]) - mean_iou(store, titles[column])
        assert entry.value == pytest.approx(expected)
        assert entry.text.partition("±")[0] == f"{round(expected, 1):+.1f}".replace("-", "−")
        mirror = entries[column, row]
        assert mirror.value == pytest.approx(-expected)
        assert mirror.text.partition("±")[2] == entry.text.partition("±")[2]
        assert mirror.mark == entry.mark
    assert all(entries[name, name].text == "" for name in names)
    assert entries["Head only", "BarLeRIa"].mark == "differs"


def test_the_ranked_rows_are_tested_as_the_bold_of_the_tables_is(store: Store) -> None:
    (members,) = group(store.all())
    evidence = ResampledScores(store)
    score = shared_score(members)
    found = compare_pairs(score, members, evidence)
    alike = {"BarLeRIa"}
    for pair, difference in found.items():
        if "BarLeRIa" in pair and not {"Head only", "Full fine-tuning"} & set(pair) and not difference.significant:
            alike.update(pair)
    assert rank_rows(score, members, evidence).best == alike
    assert len(found) == 10


def test_without_counts_there_is_no_matrix(make: Make, tmp_path: Path) -> None:
    store = Store(tmp_path)
    for method in ("etris", "snf"):
        store.save(make(method, "refcoco", {"val": 40.0}))
    assert EXTRA[NUMBER].build(group(store.all()), ResampledScores(store)) == []
