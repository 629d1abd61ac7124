"""What is drawn and from which numbers: the front, the frames behind the plots, and the SVG that a page can hold."""

import re
import xml.etree.ElementTree as ET

import numpy as np
import pandas as pd
import pytest

from barbench.paper.tables import Column
from barbench.reports.page import plots
from barbench.reports.page.expressions import band_frame, pooled, precision_frame, scored
from barbench.reports.page.frames import costs, history, ledger
from barbench.reports.page.plots import pareto
from barbench.reports.page.style import Axis, Style
from barbench.reports.tables.grouping import group
from barbench.results.resampled import ResampledScores
from barbench.results.store import Store
from tests.reports import runs
from tests.reports.hostile_text import TITLE


def frame(*points: tuple[str, float, float]) -> pd.DataFrame:
    return pd.DataFrame(points, columns=["label", "x", "y"])


def test_the_front_keeps_what_nothing_beats() -> None:
    points = frame(("a", 1, 10), ("b", 2, 9), ("c", 2, 12), ("d", 3, 12), ("e", 4, 20))
    assert pareto(points, "low")["label"].tolist() == ["a", "c", "e"]
    assert pareto(points, "high")["label"].tolist() == ["e"]
    assert pareto(frame(("a", 5, 1), ("b", 4, 2), ("c", 4, 1)), "high")["label"].tolist() == ["b", "a"]
    assert pareto(frame(("a", 1, 1), ("b", 1, 1)), "low")["label"].tolist() == ["a", "b"]


def test_costs_are_means_over_splits_with_the_range_of_the_seeds(make, tmp_path) -> None:
    store = Store(tmp_path)
    records = [runs.save(store, make, "etris", "refcoco", seed=seed, images=5) for seed in (0, 1)]
    found = costs(group(records)[0])
    row = found.frame.iloc[0]
    iou = [100 * np.mean([split.scores.miou for split in record.splits.values()]) for record in records]
    assert row[["iou", "iou_low", "iou_high"]].tolist() == pytest.approx([np.mean(iou), min(iou), max(iou)])
    gib = [record.profile.peak_memory_bytes / 2**30 for record in records]
    assert row[["memory", "memory_low", "memory_high"]].tolist() == pytest.approx([np.mean(gib), min(gib), max(gib)])
    assert row["parameters"] == 1.387648
    assert found.machine == "Some CPU @ 2.0 GHz, 2 threads, memory: process RSS, batch 8"
    assert found.absent == ()


def test_times_of_another_machine_are_not_mixed_in(make, tmp_path) -> None:
    store = Store(tmp_path)
    records = [runs.save(store, make, method, "refcoco", images=5) for method in ("etris", "snf")]
    records.append(runs.save(store, make, "barleria", "refcoco", images=5, fields={"environment": {"device": "GPU"}}))
    records.append(make("snf-etris", "refcoco", {"val": 50}))
    found = costs(group(records)[0])
    assert found.columns == (Column("refcoco", "val"),)
    assert found.frame["label"].tolist() == ["ETRIS", "SNF", "SNF+ETRIS", "BarLeRIa"]
    assert found.frame["memory"].isna().tolist() == [False, False, True, True]
    assert found.frame["parameters"].notna().all()
    assert [line.partition(":")[0] for line in found.absent] == ["SNF+ETRIS, BarLeRIa"]


def test_history_and_ledger(make, tmp_path) -> None:
    store = Store(tmp_path)
    records = [runs.save(store, make, "snf", "refcoco", seed=seed, images=5, epochs=2, skill=1) for seed in (0, 1)]
    lines = history(group(records)[0])
    assert lines["x"].tolist() == [1, 2]
    assert lines[["low", "y", "high"]].to_numpy().tolist() == [
        pytest.approx([0.15, 0.155, 0.16]),
        pytest.approx([0.10, 0.105, 0.11]),
    ]
    assert ledger(group(records)[0]).loc["SNF"].tolist() == [0.184416, 0, 22.671361, 150]


def test_expressions_of_a_split_and_of_all_splits(make, tmp_path) -> None:
    store = Store(tmp_path)
    records = [runs.save(store, make, "snf", "refcoco", seed=seed, images=5) for seed in (0, 1)]
    found = scored(group(records)[0], ResampledScores(store))
    val = found[Column("refcoco", "val")]
    curve = precision_frame(val)
    at_half = curve[np.isclose(curve["x"], 0.5)].iloc[0]
    p50 = [100 * record.splits["val"].scores.p50 for record in records]
    assert [at_half["low"], at_half["y"], at_half["high"]] == pytest.approx([min(p50), np.mean(p50), max(p50)])
    together = pooled(list(found.values()))
    kinds = band_frame(together, "kind")
    assert kinds["n"].sum() == 3 * 20
    overall = (kinds["mean"] * kinds["n"]).sum() / kinds["n"].sum()
    assert overall == pytest.approx(100 * np.mean([s.scores.miou for r in records for s in r.splits.values()]))


def drawn(**places: int) -> str:
    points = pd.DataFrame(
        [
            {"label": label, "x": x, "x_low": x, "x_high": x, "y": 3.0, "y_low": 2.0, "y_high": 4.0}
            for x, label in enumerate(places, 1)
        ]
    )
    styles = {label: Style(place) for label, place in places.items()}
    return plots.scatter(points, styles, Axis("Cost (M)", "low"), Axis("IoU (%)"), "figure", "alt “text”")


def test_a_figure_is_small_well_formed_and_coloured_by_the_page() -> None:
    text = drawn(**{TITLE: 2, "plain": 9})
    tree = ET.fromstring(text.replace("<svg ", '<svg xmlns:xlink="http://www.w3.org/1999/xlink" ', 1))
    assert tree.get("role") == "img"
    assert tree.get("aria-label") == "alt “text”"
    assert f"{TITLE}: 3 at 1" in [node.text for node in tree.iter("title")]
    assert {"var(--m2)", "var(--m1)", "var(--ink)", "var(--grid)"} <= set(re.findall(r"var\(--\w+\)", text))
    assert not re.findall(r"#[0-9a-f]{6}\b(?!\")", text.replace('href="#', '"')), "no color of its own"
    texts = [node.get("style", "") for node in tree.iter() if node.tag.endswith("text")]
    assert len(texts) > 8
    assert all("fill: var(--ink)" in style for style in texts)
    assert not re.findall(r"<style|<script|font-family|<metadata", text)
    assert len(text) < 15_000


def test_ids_are_the_figures_own() -> None:
    one, two = (plots.glyph(Style(3), name) for name in ("one", "two"))
    ids = [set(re.findall(r' id="([^"]+)"', text)) for text in (one, two)]
    assert ids[0]
    assert not ids[0] & ids[1]
    assert plots.glyph(Style(3), "one") == one


def test_a_cost_of_nothing_has_a_place_on_a_logarithmic_axis() -> None:
    points = pd.DataFrame(
        [
            {"label": f"m{x}", "x": x, "x_low": x, "x_high": x, "y": 3.0, "y_low": 3.0, "y_high": 3.0}
            for x in (0, 0.02, 5)
        ]
    )
    styles = {label: Style(n) for n, label in enumerate(points["label"])}
    text = plots.scatter(points, styles, Axis("Cost", "low"), Axis("IoU"), "log", "")
    ticks = re.findall(r">([\d.]+)</text>", text)
    assert ticks[:5] == ["0", "0.01", "0.1", "1", "10"]
