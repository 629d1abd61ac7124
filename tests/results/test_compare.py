"""Comparisons of cells made by hand: what is paired, what is refused, what is said about it."""

import numpy as np
import pytest

from barbench.errors import DataError, UsageError
from barbench.metrics import METRICS, summarize
from barbench.results.compare import Wanted, compare, rows_of
from barbench.results.store import Store
from tests.metrics.test_identity import split_of
from tests.results.conftest import Put

ANY = Wanted()


def test_each_split_and_metric_has_a_row(store: Store, put: Put) -> None:
    better, base = put("barleria", better=0.3), put("etris")
    found = compare(store, "barleria", "etris", ANY)
    assert found.titles == ("BarLeRIa", "ETRIS")
    assert [(r.split, r.metric) for r in found.rows] == [
        (split, metric)
        for split in ("val", "testA")
        for metric in ("mIoU", "oIoU", "P@0.5", "All@0.7", "worst sentence")
    ]
    assert {(r.images, r.expressions) for r in found.rows} == {(12, 36)}
    for row, name in zip(found.rows[:2], ("miou", "oiou"), strict=True):
        expected = []
        for record in (better, base):
            table = store.expressions(record.cell)
            expected.append(100 * getattr(summarize(table["val/intersection"], table["val/union"]), name))
        assert (row.first, row.second) == pytest.approx(tuple(expected))
        assert row.difference == pytest.approx(expected[0] - expected[1])
        assert row.low < row.difference < row.high
        assert (row.low > 0, row.verdict) == (True, "BarLeRIa is higher")
    turned = compare(store, "etris", "barleria", ANY)
    assert turned.rows[0].high == pytest.approx(-found.rows[0].low)
    assert turned.rows[0].verdict == "BarLeRIa is higher"
    assert any("these two trained models" in note for note in found.notes)
    assert any("synthetic" in note for note in found.notes)


def test_scores_over_objects_are_those_of_the_counts(store: Store, put: Put) -> None:
    better, base = put("barleria", better=0.3), put("etris")
    row = next(r for r in compare(store, "barleria", "etris", ANY).rows if r.metric == "worst sentence")
    expected = []
    for record in (better, base):
        table = store.expressions(record.cell)
        ratios = table["val/intersection"] / table["val/union"]
        # Three sentences of each object, one after the other.
        expected.append(100 * ratios.reshape(12, 3).min(axis=1).mean())
    assert (row.first, row.second) == pytest.approx(tuple(expected))


def test_a_metric_that_is_not_defined_for_the_data_has_no_row(store: Store, put: Put) -> None:
    for method in ("barleria", "etris"):
        record = put(method)
        columns = dict(store.expressions(record.cell))
        for split in record.splits:
            columns[f"{split}/ann_id"] = np.arange(36)  # one sentence an object
        store.save(record, columns)
    found = {row.metric for row in compare(store, "barleria", "etris", ANY).rows}
    assert found == {"mIoU", "oIoU", "P@0.5"}


def test_no_difference_shown(store: Store, put: Put) -> None:
    put("snf", better=0.001)
    put("etris")
    row = compare(store, "snf", "etris", ANY).rows[2]
    assert row.low <= 0 <= row.high
    assert row.verdict == "no difference shown"
    assert row.readable(("SNF", "ETRIS"))["difference"] == "+0.0"


def test_seeds_are_paired_where_both_have_them(store: Store, put: Put) -> None:
    for seed in (0, 1, 2):
        put("barleria", better=0.1, seed=seed)
    for seed in (1, 2, 5):
        put("etris", seed=seed)
    found = compare(store, "barleria", "etris", ANY)
    assert "seeds, pair by pair: 1, 2; left out, since one of the two lacks them: 0, 5" in found.notes
    scores = []
    for seed in (1, 2):
        table = store.expressions(next(r.cell for r in store.all() if r.cell.seed == seed and r.title == "ETRIS"))
        scores.append(100 * np.mean(table["val/intersection"] / table["val/union"]))
    assert found.rows[0].second == pytest.approx(np.mean(scores))
    assert any("other training runs, of which there are 2; of two it covers" in note for note in found.notes)


def test_seeds_that_nobody_shares_are_taken_in_order(store: Store, put: Put) -> None:
    put("snf", seed=0)
    put("etris", seed=7)
    found = compare(store, "snf", "etris", ANY)
    assert "no seed in common: runs with seeds 0 against runs with seeds 7" in found.notes


def test_other_settings_must_be_asked_for(store: Store, put: Put) -> None:
    put("snf")
    paper = put("etris", recipe={"name": "paper"})
    with pytest.raises(UsageError, match=r"more than the method: recipe.name demo and paper"):
        compare(store, "snf", "etris", ANY)
    for names, wanted in (
        (("snf", "etris"), Wanted(recipe="demo,paper")),
        (("snf--tiny", paper.id), ANY),
    ):
        found = compare(store, *names, wanted)
        assert "not the method alone differs: recipe.name demo and paper" in found.notes
    with pytest.raises(UsageError, match="--recipe takes one value, or one of each method"):
        compare(store, "snf", "etris", Wanted(recipe="a,b,c"))


def test_one_method_on_two_backbones(store: Store, put: Put) -> None:
    tiny, large = put("etris"), put("etris", backbone="ViT-B-16", better=0.1)
    found = compare(store, "etris", "etris", Wanted(backbone="ViT-B-16,tiny"))
    assert found.titles == (f"ETRIS ({large.id})", f"ETRIS ({tiny.id})")
    with pytest.raises(UsageError, match="the same cell"):
        compare(store, "etris", "ETRIS", Wanted(backbone="tiny"))


def test_other_data_and_other_expressions_are_refused(store: Store, put: Put) -> None:
    put("etris")
    moved = put("snf", data={"kind": "shapes", "fingerprint": "beef"})
    with pytest.raises(UsageError, match=r"cannot be compared: data.fingerprint beef and f00d"):
        compare(store, "snf", "etris", ANY)
    with pytest.raises(UsageError, match="cannot be compared: data"):
        compare(store, moved.id, "etris--", ANY)
    put("barleria", first=500)
    with pytest.raises(UsageError, match="different expressions on val"):
        compare(store, "barleria", "etris", ANY)


def test_a_split_that_was_not_run(store: Store, put: Put) -> None:
    put("etris")
    put("snf")
    with pytest.raises(UsageError, match=r"no finished cell of 'snf' with dataset refcoco; there are"):
        compare(store, "snf", "etris", Wanted(dataset="refcoco"))


def test_a_record_without_its_expressions(store: Store, put: Put) -> None:
    put("snf")
    store.path(put("etris").cell).with_suffix(".npz").unlink()
    with pytest.raises(DataError, match="does not exist"):
        compare(store, "snf", "etris", ANY)


def test_the_smallest_difference_follows_from_the_interval(store: Store, put: Put) -> None:
    put("etris", better=0.1)
    put("snf")
    row = compare(store, "etris", "snf", ANY).rows[0]
    error = (row.high - row.low) / 2 / 1.96  # a two-sided test at 5 % with a power of 80 % needs 2.8 of these
    assert row.smallest == pytest.approx(2.8 * error, rel=0.01)
    assert row.readable(("a", "b"))["smallest shown"] == f"{row.smallest:.1f}"


def test_the_verdict_names_the_better_one_where_errors_are_lower() -> None:
    right, wrong = split_of([set(range(20))] * 40), split_of([set(range(30, 56))] * 40)
    for columns in (right, wrong):
        columns["image_id"] = np.arange(40)
    rows = {row.metric: row for row in rows_of([[right, wrong]], "val", ("A", "B"), 200)}
    assert {name: rows[name].verdict for name in ("mIoU", "target right", "identity error")} == {
        "mIoU": "A is higher",
        "target right": "A is higher",
        "identity error": "A is lower",
    }
    [turned] = [row for row in rows_of([[wrong, right]], "val", ("B", "A"), 200) if row.metric == "identity error"]
    assert (turned.difference, turned.verdict) == (100, "A is lower")


def test_every_error_is_better_where_it_is_lower() -> None:
    low = {name for name, metric in METRICS.items() if metric.better == "low"}
    assert low == {"identity_error", "switch", "poor_mask", "target_wrong", "target_unresolved", "object_spread"}
