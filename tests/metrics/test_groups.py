"""R-RefCOCO's and Ref-ZOM's metrics against loops over references, and what is left out of them."""

import numpy as np
import pytest

from barbench.metrics import METRICS, Columns, summarize_columns

# Two references: (group, intersection, union, area, targets).
ROWS = (
    (7, 6, 10, 8, 1), (7, 9, 10, 9, 2), (7, 0, 0, 0, 0), (7, 0, 5, 0, 0),
    (9, 4, 8, 6, 1), (9, 0, 0, 0, 0),
    (4, 5, 10, 5, 1),
)  # fmt: skip


def columns(rows: tuple[tuple[int, ...], ...] = ROWS) -> Columns:
    names = ("group", "intersection", "union", "area", "targets")
    return dict(zip(names, np.array(rows).T, strict=True))


def by_hand(rows: tuple[tuple[int, ...], ...]) -> dict[str, float]:
    means, rejected, robust = [], [], []
    for group in {row[0] for row in rows}:
        own = [row for row in rows if row[0] == group]
        present = [row for row in own if row[4]]
        absent = [row for row in own if not row[4]]
        if present:
            means.append(sum(row[1] / row[2] for row in present) / len(present))
            found = sum(row[2] - row[3] + row[1] for row in absent)
            robust.append(sum(row[1] for row in present) / (sum(row[2] for row in present) + found))
        if absent:
            rejected.append(sum(row[2] - row[3] + row[1] == 0 for row in absent) / len(absent))
    there = [row for row in rows if row[4]]
    return {
        "group_miou": sum(means) / len(means),
        "mrr": sum(rejected) / len(rejected),
        "riou": sum(robust) / len(robust),
        "present_miou": sum(row[1] / row[2] for row in there) / len(there),
        "present_oiou": sum(row[1] for row in there) / sum(row[2] for row in there),
    }


def test_the_example() -> None:
    scores = summarize_columns(columns())
    # 0.75, 0.5, 0.5; 1/2, 1/1; 15/25, 4/8, 5/10
    assert scores["group_miou"] == pytest.approx((0.75 + 0.5 + 0.5) / 3)
    assert scores["mrr"] == pytest.approx((0.5 + 1) / 2)
    assert scores["riou"] == pytest.approx((15 / 25 + 4 / 8 + 5 / 10) / 3)
    assert scores["present_miou"] == pytest.approx((0.6 + 0.9 + 0.5 + 0.5) / 4)
    assert scores["present_oiou"] == pytest.approx(24 / 38)
    assert scores["n_acc"] == pytest.approx(2 / 3)


def test_many_references_by_a_loop() -> None:
    rng = np.random.default_rng(3)
    rows = []
    for group in range(200):
        for _ in range(rng.integers(1, 6)):
            targets = int(rng.integers(0, 3))
            area = int(rng.integers(1, 50)) if targets else 0
            intersection = int(rng.integers(0, area + 1))
            predicted = intersection + int(rng.integers(0, 2) * rng.integers(0, 30))
            rows.append((group, intersection, area + predicted - intersection, area, targets))
    order = rng.permutation(len(rows))
    scores = summarize_columns(columns(tuple(rows[place] for place in order)))
    for name, value in by_hand(tuple(rows)).items():
        assert scores[name] == pytest.approx(value), name


def test_only_sets_with_groups_have_them() -> None:
    without = {name: column for name, column in columns().items() if name != "group"}
    assert {"mrr", "riou", "group_miou"}.isdisjoint(summarize_columns(without).values)
    single = {name: column for name, column in columns().items() if name != "targets"}
    assert not any(METRICS[name].applies(single) for name in by_hand(ROWS))


def test_references_where_nothing_is_there_have_no_part_in_riou() -> None:
    rows = (*ROWS, (5, 0, 3, 0, 0))
    scores = summarize_columns(columns(rows))
    assert scores["riou"] == summarize_columns(columns())["riou"]
    assert scores["mrr"] == pytest.approx((0.5 + 1 + 0) / 3)
