"""The HTML page as text: what is in it, what is left out and why, the same bytes, and nothing to fetch."""

import re
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from barbench.reports.page.html import LIMIT, condition_names
from barbench.reports.page.panels import embed_panels
from barbench.reports.page.sections import assign_styles
from barbench.reports.page.style import Style
from barbench.reports.tables.grouping import group
from barbench.reports.write import write_reports
from barbench.results.store import Store
from tests.reports import runs
from tests.reports.hostile_text import EXPRESSION, TITLE, write_panels

CSS = Path(__file__).parents[3] / "barbench/reports/page/templates/report.css"


def page(store: Store, out: Path) -> str:
    [path] = write_reports(store, out, formats=["html"]).paths
    assert path.name == "report.html"
    return path.read_text()


def test_same_records_same_bytes(make, tmp_path: Path) -> None:
    store = Store(tmp_path / "results")
    runs.save(store, make, "snf", "refcocog-u")
    assert page(store, tmp_path / "a") == page(store, tmp_path / "b")


def test_the_page_stands_alone_and_says_everything(make, tmp_path: Path) -> None:
    store = Store(tmp_path / "results")
    for seed in (0, 1):
        for method in ("etris", "snf"):
            runs.save(store, make, method, "refcoco+", seed=seed)
    text = page(store, tmp_path / "out")
    assert not re.findall(r"(?:src|href)=\"(?!#|data:)[^\"]*\"|url\((?!#)|@import|https?://(?!www\.w3\.org/)", text)
    assert not re.findall(r"\{\{|\}\}|\{%", text)
    for said in ("Peak memory in training (GiB)", "Inference (images/s)", "Learning rate", "IoU threshold X", "words"):
        assert said in text
    for said in ("kind of expression", "object&#39;s share", "empty mask", "torch", "2.15.0", "0123456789abcdef"):
        assert said.replace("&#39;", "'") in text or said in text
    assert "barbench run --methods etris,snf --dataset refcoco+ --seeds 0,1 --data ROOT" in text
    assert "Bars of IoU are 95 % intervals over images and seeds." in text
    assert "Synthetic shapes" not in text
    assert 'id="panels"' not in text
    assert 'id="failures"' not in text


def test_the_page_says_one_thing_of_what_its_intervals_cover(make, tmp_path: Path) -> None:
    """The summary, the drawings and the tables: images alone with one seed, images and seeds with two."""
    store = Store(tmp_path / "results")
    for method in ("head-only", "etris", "snf"):
        runs.save(store, make, method, "refcoco+")
    one = page(store, tmp_path / "one")
    assert one.count("over images alone: one seed (0) says nothing of other trainings.") >= 2
    assert "images and seeds" not in one
    for method in ("head-only", "etris", "snf"):
        runs.save(store, make, method, "refcoco+", seed=1)
    two = page(store, tmp_path / "two")
    assert two.count("over images and seeds (0, 1).") >= 2
    assert "images alone" not in two


def test_the_summary_explains_nothing_that_it_does_not_show(make, tmp_path: Path) -> None:
    store = Store(tmp_path / "results")
    runs.save(store, make, "etris", "refcoco+")
    opening = page(store, tmp_path / "out").partition("What was measured")[2].partition("</section>")[0]
    assert "±: half of" in opening
    assert "Bold: the best" not in opening  # of one method
    assert "Gap closed: between" not in opening  # without the two ends


def test_synthetic_data_is_announced(make, tmp_path: Path) -> None:
    store = Store(tmp_path / "results")
    runs.save(store, make, "etris", "refcoco", data={"kind": "shapes", "fingerprint": "f"}, backbone="tiny")
    text = page(store, tmp_path / "out")
    assert "Synthetic shapes, not comparable with the paper." in text.partition("</header>")[0]
    assert "All records of this page come from the embedded benchmark" in text
    assert "Bars of IoU are 95 % intervals over images." in text
    runs.save(store, make, "etris", "refcoco")
    mixed = page(store, tmp_path / "out").partition("</header>")[0]
    assert "The records of tiny · paper" in mixed
    assert "All records" not in mixed


def test_records_without_arrays_kinds_or_cost(make, tmp_path: Path) -> None:
    old, bare = Store(tmp_path / "old"), Store(tmp_path / "bare")
    runs.save(old, make, "etris", "refcoco", drop=("kind",), fields={"kinds": (), "profile": None})
    text = page(old, tmp_path / "out")
    assert "Scores by kind are left out: these records are older" in text
    assert "by number of words" in text
    assert "memory and throughput were measured on another machine or not at all" in text
    bare.save(make("etris", "refcoco", {"val": 40.0}))
    text = page(bare, tmp_path / "out")
    assert "One seed: no intervals" in text
    for said in ("No arrays of single expressions", "No record has a training history", "ETRIS alone"):
        assert said in text


def test_only_failed_cells(make, tmp_path: Path) -> None:
    store = Store(tmp_path / "results")
    store.save(make("etris", "refcoco", fields={"status": "out-of-memory", "reason": "needs 9 GiB & more"}))
    text = page(store, tmp_path / "out")
    assert "No finished cell yet" in text
    assert "No finished cell, so nothing to compare" in text
    assert "needs 9 GiB &amp; more" in text


def test_what_people_type_is_escaped(make, tmp_path: Path) -> None:
    store = Store(tmp_path / "results")
    runs.save(store, make, "etris", "refcoco", fields={"title": TITLE, "data_problems": {TITLE: 2}})
    store.save(make("snf", "refcoco", fields={"status": "failed", "reason": TITLE}, seed=4))
    write_panels(tmp_path / "out" / "panels")
    text = page(store, tmp_path / "out")
    assert text.count("<script") == 2  # the page's own, and the packed expressions
    assert "<b>hat" not in text
    assert "the man&#39;s &#34;red&#34; &lt;b&gt;hat&lt;/b&gt; &amp; tie" in text
    assert text.count("&lt;script&gt;alert(hacked=1)&lt;/script&gt;") > 10
    assert "gone.png cannot be shown" in text


def test_panels_share_the_room_that_is_left(tmp_path: Path) -> None:
    write_panels(tmp_path / "panels", count=3)
    roomy, tight, none = (embed_panels(tmp_path / "panels", room) for room in (LIMIT, 160_000, 1000))
    assert [each.panel.expression for each in roomy.shown] == [EXPRESSION] * 3
    assert (roomy.shown[0].width, roomy.shown[0].height) == (600, 200)
    assert sum(len(each.uri) for each in tight.shown) <= 160_000
    assert len(tight.shown) == 3
    assert none.shown == ()
    assert sum("too large" in line for line in none.problems) == 3


@pytest.mark.parametrize("text", ["", "[", "{}", '[{"file": "one.png"}]', '[{"file": 3, "expression": "x"}]'])
def test_a_bad_list_of_panels_is_named(text: str, tmp_path: Path) -> None:
    (tmp_path / "panels.json").write_text(text)
    assert embed_panels(tmp_path, LIMIT).problems[0].startswith("panels.json cannot be used: ")


def test_a_panel_cannot_reach_outside_its_folder(tmp_path: Path) -> None:
    write_panels(tmp_path / "panels")
    secret = (tmp_path / "panels" / "one.png").rename(tmp_path / "secret.png")
    (tmp_path / "panels" / "panels.json").write_text('[{"file": "../secret.png", "expression": "x"}]')
    assert secret.is_file()
    assert embed_panels(tmp_path / "panels", LIMIT).shown == ()


def test_methods_keep_their_look_when_others_are_missing(make) -> None:
    methods = ["head-only", "etris", "snf", "barleria"]
    every = assign_styles(group(make(method, "refcoco", {"val": 40}) for method in methods))
    alone = assign_styles(group([make("barleria", "refcoco", {"val": 40})]))
    assert every["barleria", "", ""] == alone["barleria", "", ""] == Style(4)
    assert every["head-only", "", ""] == Style(5)


def test_conditions_are_named_by_what_tells_them_apart(make) -> None:
    different = [{}, {"backbone": "tiny"}, {"precision": "bf16"}, {"precision": "bf16", "weights": "random"}]
    groups = group(make("snf", "refcoco", {"val": 40}, **fields) for fields in different)
    b16 = "ViT-B-16-quickgelu · paper"
    assert sorted(condition_names([members.conditions for members in groups])) == sorted(
        ["tiny · paper", f"{b16} · openai · fp32", f"{b16} · openai · bf16", f"{b16} · random"]
    )


def test_no_two_methods_look_the_same() -> None:
    looks = [(Style(n).color, Style(n).marker) for n in range(56)]
    assert len(set(looks)) == 56


@pytest.mark.parametrize(("side", "paper"), [(0, "#ffffff"), (1, "#14171c")])
def test_colours_can_be_told_apart(side: int, paper: str) -> None:
    """Any two methods' colors in CIELAB, also for deuteranopes and protanopes (Viénot 1999); contrast to the paper."""
    pairs = re.findall(r"--m\d: light-dark\((#\w{6}), (#\w{6})\)", CSS.read_text())
    assert len(pairs) == 8
    eyes = (
        np.eye(3),
        [[0.29275, 0.70725, -0.02234], [0.29275, 0.70725, -0.02234], [-0.02234, 0.02234, 1]],
        [[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]],
    )
    colors = np.stack([linear(pair[side]) for pair in pairs])
    for eye in eyes:
        seen = cielab(colors @ np.transpose(eye))
        assert min(np.linalg.norm(a - b) for a, b in combinations(seen, 2)) > 16
    light = sorted([colors @ [0.2126, 0.7152, 0.0722], np.full(8, linear(paper) @ [0.2126, 0.7152, 0.0722])], key=sum)
    assert ((light[1] + 0.05) / (light[0] + 0.05)).min() > 3


@pytest.mark.parametrize("side", [0, 1])
def test_the_arrows_of_sortable_columns_can_be_seen(side: int) -> None:
    """WCAG's contrast of 4.5 between the arrow and the header that it is in."""
    style = CSS.read_text()
    arrow = re.search(r"\.arrow::after \{ content: \"↕\"; color: var\((--\w+)\)", style)
    behind = re.search(r"thead th \{ background: var\((--\w+)\)", style)
    assert arrow
    assert behind
    lights = []
    for name in (arrow[1], behind[1]):
        colors = re.search(rf"{name}: light-dark\((#\w{{6}}), (#\w{{6}})\)", style)
        assert colors
        lights.append(float(linear(colors[1 + side]) @ [0.2126, 0.7152, 0.0722]))
    assert (max(lights) + 0.05) / (min(lights) + 0.05) >= 4.5


def linear(text: str) -> np.ndarray:
    c = np.array([int(text[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def cielab(rgb: np.ndarray) -> np.ndarray:
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = np.clip(rgb, 0, 1) @ to_xyz.T / [0.9505, 1, 1.089]
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], 1)
