"""Curves over cost: which rows make one line, and what the page draws of them."""

import re
from pathlib import Path
from typing import Any

import pytest

from barbench.reports.page.budgets import budget_figures, curve_names, curve_styles
from barbench.reports.page.frames import costs
from barbench.reports.page.style import Style
from barbench.reports.tables.grouping import Group, group
from barbench.results.store import Store
from tests.reports.conftest import Make
from tests.reports.runs import save

SIZES = {2: 0.2, 4: 0.4, 8: 0.8}


def run(folder: Path, make: Make, knobs: dict[int, dict[str, Any]]) -> Group:
    store = Store(folder)
    records = [
        save(store, make, "etris", "refcoco", skill=0.4 + size / 10, options=options,
             fields={"title": f"Bridge, B{size}", "ledger": {"adapter": 1000 * size, "head": 5, "frozen": 9}})
        for size, options in knobs.items()
    ]  # fmt: skip
    records += [save(store, make, method, "refcoco") for method in ("head-only", "snf")]
    (one,) = group(records)
    return one


def test_rows_that_differ_in_numbers_and_towers_are_one_curve(tmp_path: Path, make: Make) -> None:
    knobs = {2: {"bridge.dim": 2, "bridge.towers": ["vision"]}, 4: {"bridge.dim": 4}, 8: {"bridge.dim": None}}
    names = curve_names(run(tmp_path, make, knobs))
    assert {names[f"Bridge, B{size}"] for size in knobs} == {"Bridge"}
    assert names["SNF"] == "SNF"
    other = {2: {"bridge.dim": 2, "bridge.kind": "a"}, 4: {"bridge.dim": 4, "bridge.kind": "b"}}
    assert len(set(curve_names(run(tmp_path / "other", make, other)).values())) == 4


def test_one_drawing_per_cost_with_the_ends(tmp_path: Path, make: Make) -> None:
    made = run(tmp_path, make, {size: {"bridge.dim": size} for size in SIZES})
    styles = {row.label: Style(place) for place, row in enumerate(made.rows)}
    found = costs(made)
    of_curves = curve_styles(found, made, styles)
    assert of_curves == {"Head only": Style(0), "Bridge": Style(1), "SNF": Style(4)}
    shown = list(budget_figures(found, made, of_curves, "g"))
    beginnings = [figure.title.partition(",")[0] for figure in shown]
    assert beginnings == ["IoU over tuned parameters", "IoU over peak memory", "IoU over training time"]
    for figure in shown:
        names = re.findall(r"<title>([^<:]*): ", figure.svg)
        assert sorted(names) == ["Bridge, B2", "Bridge, B4", "Bridge, B8", "Head only", "SNF"]


@pytest.mark.parametrize("knobs", [{}, {4: {"bridge.dim": 4}}], ids=["none", "one"])
def test_without_a_curve_there_is_no_drawing(tmp_path: Path, make: Make, knobs: dict[int, dict[str, Any]]) -> None:
    made = run(tmp_path, make, knobs)
    assert list(budget_figures(costs(made), made, {row.label: Style(0) for row in made.rows}, "g")) == []
