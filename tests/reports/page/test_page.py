"""The HTML page in headless Chromium: it runs without errors, fetches nothing, sorts, and fits a phone."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from barbench.reports.write import write_reports
from barbench.results.qualitative import Scenes
from barbench.results.record import Cell
from barbench.results.store import Store
from tests.reports import chromium, runs
from tests.reports.conftest import Make
from tests.reports.hostile_text import EXPRESSION, TITLE, write_panels

pytestmark = pytest.mark.skipif(chromium.BROWSER is None, reason="no Chromium on this machine")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, make: Make) -> Path:
    """Two sets of conditions, several seeds, a hostile title, a failed cell, panels."""
    folder = tmp_path_factory.mktemp("page")
    store, out = Store(folder / "results"), folder / "reports"
    for seed in (0, 1):
        for method, skill in (("head-only", 0.4), ("etris", 0.6), ("barleria", 0.5)):
            runs.save(store, make, method, "refcoco+", skill=skill, seed=seed)
    shapes = {"data": {"kind": "shapes", "fingerprint": "f"}, "backbone": "tiny"}
    runs.save(store, make, "snf", "refcoco", fields={"title": TITLE}, **shapes)
    runs.save(store, make, "no-global", "refcoco", drop=("kind",), **shapes)
    lost = make("snf-etris", "refcoco", fields={"status": "failed", "reason": f"it broke: {TITLE}"}, **shapes)
    store.save(lost)
    write_panels(out / "panels")
    write_reports(store, out, formats=["html"])
    return out / "report.html"


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[chromium.Tab]:
    with chromium.tab(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


COLUMN = """
(table, place) => [...document.querySelectorAll(`#${table} tbody`)].map((body) =>
  [...body.rows].filter((row) => row.cells.length > 1).map((row) => {
    const cell = row.cells[place];
    return "sort" in cell.dataset ? Number(cell.dataset.sort) : cell.textContent;
  }))
"""


def column(tab: chromium.Tab, table: str, place: int) -> list[list[float | str]]:
    """What a column holds, a list a section: numbers, or text where a cell has none."""
    found: list[list[float | str]] = tab.run(f"({COLUMN})({table!r}, {place})")
    return found


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (1280, "dark"), (390, "light")])
def test_no_error_no_request_no_overflow(tab: chromium.Tab, page: Path, width: int, scheme: str) -> None:
    tab.errors.clear()
    tab.requests.clear()
    tab.open(page, width, scheme, touch=width < 500)
    tab.run("document.querySelectorAll('details').forEach((d) => (d.open = true))")
    assert tab.run("new Promise((done) => setTimeout(() => done(document.readyState), 200))") == "complete"
    assert tab.errors == []
    assert tab.requests == [page.as_uri()]
    assert tab.run("document.documentElement.scrollWidth") <= width
    background = tab.run("getComputedStyle(document.body).backgroundColor")
    assert background == ("rgb(20, 23, 28)" if scheme == "dark" else "rgb(255, 255, 255)")
    if folder := os.environ.get("BARBENCH_SCREENSHOTS"):
        Path(folder, f"page-{width}-{scheme}.png").write_bytes(tab.screenshot())


def test_hostile_text_stays_text(tab: chromium.Tab, page: Path) -> None:
    tab.open(page)
    assert tab.run("[...document.scripts].map((s) => s.type)") == ["application/octet-stream", ""]
    assert tab.run("window.hacked === undefined")
    places = {"figure.table th": TITLE, ".legend li": TITLE, "svg text, svg title": TITLE, "#failed td": TITLE}
    for where, text in (places | {"#panels q": EXPRESSION}).items():
        assert any(
            text in found for found in tab.run(f"[...document.querySelectorAll({where!r})].map(e => e.textContent)")
        )
    assert tab.run("document.querySelector('#panels img').naturalWidth") == 600


def test_a_click_on_a_header_sorts_each_section(tab: chromium.Tab, page: Path) -> None:
    tab.open(page)
    tables = tab.run("[...document.querySelectorAll('#tables figure.table')].map((f) => f.id)")
    assert len(tables) >= 5
    for table in tables:
        last = len(tab.run(f"[...document.querySelectorAll('#{table} thead tr:last-child th')].map(String)")) - 1
        header = f"document.querySelectorAll('#{table} thead tr:last-child th')[{last}]"
        before = column(tab, table, last)
        for direction in ("descending", "ascending"):
            tab.run(f"{header}.querySelector('button').click()")
            assert tab.run(f"{header}.getAttribute('aria-sort')") == direction
            for old, new in zip(before, column(tab, table, last), strict=True):
                numbers = [value for value in old if isinstance(value, int | float)]
                assert new[: len(numbers)] == sorted(numbers, reverse=direction == "descending")
                assert not any(isinstance(value, int | float) for value in new[len(numbers) :]), "text stays last"
        tab.run(f"{header}.querySelector('button').click()")
        assert tab.run(f"{header}.getAttribute('aria-sort')") is None
        assert column(tab, table, last) == before


def test_headers_sort_from_the_keyboard(tab: chromium.Tab, page: Path) -> None:
    tab.open(page)
    tab.run("document.querySelector('#table1 thead tr:last-child button').focus()")
    tab.press("Enter")
    names = column(tab, "table1", 0)
    assert names == [sorted(section, key=lambda name: str(name).casefold()) for section in names]
    assert tab.run("document.querySelector('#table1 th[aria-sort]').getAttribute('aria-sort')") == "ascending"


def test_the_theme_button_goes_round(tab: chromium.Tab, page: Path) -> None:
    tab.open(page, scheme="dark")
    shown = [tab.run("getComputedStyle(document.body).backgroundColor")]
    for _ in range(3):
        tab.run("document.getElementById('theme').click()")
        shown.append(tab.run("getComputedStyle(document.body).backgroundColor"))
    dark, light = "rgb(20, 23, 28)", "rgb(255, 255, 255)"
    assert shown == [dark, light, dark, dark]


def test_the_switch_shows_one_set_of_conditions(tab: chromium.Tab, page: Path) -> None:
    tab.open(page)
    sections = "main > section.condition:not([id$='-more'])"
    count = f'[...document.querySelectorAll("{sections}")].filter((s) => !s.hidden).length'
    assert tab.run(count) == 2
    tab.run("{const s = document.getElementById('conditions'); s.value = 'c2'; s.dispatchEvent(new Event('change'))}")
    assert tab.run(count) == 1
    assert tab.run("document.querySelector('#c2').hidden") is False


SEARCH = """
(text) => {
  const field = document.querySelector("#search input");
  field.value = text;
  field.dispatchEvent(new Event("input"));
  const rows = [...document.querySelectorAll("details.records")].filter((list) => list.open || !text);
  return rows.flatMap((list) => [...list.querySelectorAll("tbody tr")]).filter((row) => !row.hidden).length;
}
"""


def test_records_are_found_by_their_values_and_fields(tab: chromium.Tab, page: Path) -> None:
    tab.open(page)
    found = {text: tab.run(f"({SEARCH})({text!r})") for text in ("seed=1", "seed=1 bar", "FAILED", "seed=7", "")}
    assert found == {"seed=1": 3, "seed=1 bar": 1, "FAILED": 1, "seed=7": 0, "": 9}
    tab.run(f"({SEARCH})('seed=1')")
    assert tab.run("document.querySelector('#search output').textContent") == "3 of 9"
    assert tab.run("document.querySelector('#search').hidden") is False


def test_a_summary_shows_the_metric_the_split_and_the_methods_that_are_chosen(tab: chromium.Tab, page: Path) -> None:
    tab.open(page)
    assert "is best with" in tab.run("document.querySelector('.verdict').textContent")
    summary = "document.querySelector('#c1-summary')"
    names = (
        f"[...{summary}.querySelectorAll('thead tr:last-child th')].filter((h) => !h.hidden).map((h) => h.innerText)"
    )
    groups = f"[...{summary}.querySelectorAll('thead th.group')].filter((h) => !h.hidden).map((h) => h.innerText)"
    rows = f"[...{summary}.querySelectorAll('tbody tr')].filter((r) => !r.hidden).map((r) => r.cells[0].innerText)"
    choose = (
        f"(place, value) => {{ const c = {summary}.querySelectorAll('.choose select, .choose input')[place];"
        "c.value = value; c.dispatchEvent(new Event('input')); }"
    )
    assert tab.run(groups) == ["mIoU"]
    assert [name.strip("↕ ") for name in tab.run(names)][2:6] == ["average", "val", "testA", "testB"]
    tab.run(f"({choose})(0, 'P@0.7')")
    tab.run(f"({choose})(1, 'testA')")
    assert tab.run(groups) == ["P@0.7"]
    assert [name.strip("↕ ") for name in tab.run(names)][1:4] == ["Components", "testA", "Gap closed"]
    tab.run(f"({choose})(2, 'tuned>1 tuned<2')")
    assert tab.run(rows) == ["ETRIS"]
    assert tab.run(f"{summary}.querySelector('output').textContent") == "1 of 3"
    shown = f"[...{summary}.querySelectorAll('tbody tr:not([hidden]) > *')].filter((c) => !c.hidden).length"
    assert tab.run(shown) == len(tab.run(names))


def test_a_name_of_a_legend_hides_its_marks_everywhere(tab: chromium.Tab, page: Path) -> None:
    tab.open(page)
    button = "document.querySelector('#c1-cost .legend button')"
    count = (
        f"[...document.querySelectorAll('.plot [data-mark=\"' + {button}.dataset.mark + '\"]')]"
        ".filter((e) => getComputedStyle(e).visibility === 'hidden').map((e) => e.closest('section section').id)"
    )
    assert tab.run(count) == []
    tab.run(f"{button}.click()")
    hidden = tab.run(count)
    assert {"c1-cost", "c1-training", "c1-precision", "c1-breakdown"} <= set(hidden)
    assert not any(name.startswith("c2") for name in hidden)
    pressed = "[...document.querySelectorAll('.legend [aria-pressed=false]')].length"
    assert tab.run(pressed) == 4
    tab.run(f"{button}.click()")
    assert tab.run(count) == []
    assert tab.run(pressed) == 0


def test_every_mark_says_what_it_is(tab: chromium.Tab, page: Path) -> None:
    tab.open(page)
    silent = "[...document.querySelectorAll('.plot svg [data-mark]')].filter((e) => !e.querySelector(':scope > title'))"
    assert tab.run("document.querySelectorAll('.plot svg [data-mark]').length") > 100
    assert tab.run(f"{silent}.length") == 0
    point = "document.querySelectorAll('#c1-cost svg [data-mark]')[1]"
    tab.run(f"{point}.scrollIntoView({{block: 'center', behavior: 'instant'}})")
    box = tab.run(f"(({{x, y, width, height}}) => [x + width / 2, y + height / 2])({point}.getBoundingClientRect())")
    tab.run("new Promise((done) => setTimeout(done, 200))")  # what is scrolled is no longer pointed at
    tab.call("Input.dispatchMouseEvent", type="mouseMoved", x=box[0], y=box[1])
    said = tab.run("document.querySelector('.tip:not([hidden])').textContent")
    assert said == tab.run(f"{point}.querySelector('title').textContent")


def test_tables_that_are_wider_than_the_page_say_so(tab: chromium.Tab, page: Path) -> None:
    tab.open(page, 390, touch=True)
    tab.run("new Promise((done) => requestAnimationFrame(() => setTimeout(done, 100)))")
    wrong = (
        "[...document.querySelectorAll('.wide')].filter((wide) => {"
        "const scroll = wide.querySelector('.scroll');"
        "return wide.classList.contains('wider') !== scroll.scrollWidth > scroll.clientWidth + 1; }).length"
    )
    assert tab.run(wrong) == 0
    first = "document.querySelector('#c1-summary .wide')"
    assert tab.run(f"{first}.className") == "wide wider more"
    tab.run(f"{first}.querySelector('.scroll').scrollLeft = 10000")
    tab.run("new Promise((done) => requestAnimationFrame(() => setTimeout(done, 100)))")
    assert tab.run(f"{first}.className") == "wide wider"


def scenes(cell: Cell) -> Mapping[str, Scenes]:
    """Ten by ten pixels, an object in the middle."""
    sentences = {number: (f"the {('left', 'right')[number % 2]} one", "dog") for number in range(160)}
    photo = np.full((10, 10, 3), 200, np.uint8)
    mask = np.zeros((10, 10), bool)
    mask[3:7, 3:7] = True
    own = Scenes(sentences, {}, lambda image: photo, lambda ann: mask)
    return dict.fromkeys(("val", "testA", "testB"), own)


CARDS = "[...document.querySelectorAll('#explorer .card')]"
CHOOSE = """
(name, value) => {
  const control = document.querySelector(`#explorer [name=${name}]`);
  control.value = value;
  control.dispatchEvent(new Event("input"));
  return document.querySelector("#explorer output").textContent;
}
"""


@pytest.mark.parametrize("inside", [True, False])
def test_expressions_are_found_and_shown_with_their_pictures(
    tab: chromium.Tab, page: Path, inside: bool, tmp_path: Path
) -> None:
    """Of pictures inside the file, and of those in the folder beside it."""
    store = Store(page.parent.parent / "results")
    for title in ("Head only", "BarLeRIa"):
        runs.keep(store, title, {"val": [np.eye(10) > 0] * 160})
    write_reports(store, tmp_path, ["5"], ["html"], find_scenes=scenes, pictures=10**6 if inside else 0)
    assert (tmp_path / "expressions").is_dir() is not inside
    tab.errors.clear()
    tab.requests.clear()
    tab.open(tmp_path / "report.html")
    assert tab.run("new Promise((done) => setTimeout(() => done(document.readyState), 500))") == "complete"
    assert tab.run(f"{CARDS}.length") == 24
    tab.run("document.querySelector('#explorer .more').click()")
    assert tab.run(f"{CARDS}.length") == 48
    # Right and wrong as the records have them.
    names = tab.run("[...document.querySelectorAll('#explorer [name=a] option')].map((o) => o.textContent)")
    assert names == ["Head only", "ETRIS", "BarLeRIa"]
    assert tab.run("document.querySelector('#explorer [name=a]').value") == "1"  # the best
    arrays = {r.title: store.expressions(r.cell) for r in store.all() if r.cell.seed == 0 and r.status == "done"}
    right = {}
    for name in names:
        right[name] = arrays[name]["val/intersection"] / arrays[name]["val/union"] > 0.5
    tab.run(f"({CHOOSE})('b', '0')")
    count = int((right["ETRIS"] & ~right["Head only"]).sum())
    assert tab.run(f"({CHOOSE})('relation', 'right-wrong')") == f"{count} of 160"
    left = int((right["ETRIS"] & ~right["Head only"])[::2].sum())
    assert tab.run(f"({CHOOSE})('words', 'LEFT one')") == f"{left} of 160"
    assert tab.run(f"{CARDS}[0].querySelector('q').textContent") == "the left one"
    tab.run(f"{CARDS}[0].scrollIntoView({{behavior: 'instant'}})")
    tab.run("new Promise((done) => setTimeout(done, 300))")
    assert tab.run(f"[...{CARDS}[0].querySelectorAll('img')].map((i) => i.naturalWidth)") == [10, 10, 10, 20, 10, 20]
    # Two masks are one picture, of which each method shows its half.
    box = "(i) => [i.getBoundingClientRect().x, i.getBoundingClientRect().width]"
    masks = tab.run(f"[...{CARDS}[0].querySelectorAll('.methods .mask')].map({box})")
    frames = tab.run(f"[...{CARDS}[0].querySelectorAll('.methods .stack')].map({box})")
    for place, (mask, (left, width)) in enumerate(zip(masks, frames, strict=True)):
        assert mask == pytest.approx([left - place * width, 2 * width], abs=0.1)
    assert tab.errors == []
    if inside:
        assert tab.requests == [(tmp_path / "report.html").as_uri()]
    if folder := os.environ.get("BARBENCH_SCREENSHOTS"):
        Path(folder, f"explorer-{inside}.png").write_bytes(tab.screenshot())


def test_every_link_of_the_contents_leads_somewhere(tab: chromium.Tab, page: Path) -> None:
    tab.open(page)
    missing = (
        "[...document.querySelectorAll('a[href^=\"#\"]')].filter((a) => !document.getElementById(a.hash.slice(1)))"
    )
    assert tab.run(f"{missing}.map((a) => a.hash)") == []
    ids = tab.run("[...document.querySelectorAll('[id]')].map((e) => e.id)")
    assert len(ids) == len(set(ids))


def test_the_panel_is_smaller_than_its_file(page: Path) -> None:
    assert page.stat().st_size < 5_000_000
    with Image.open(page.parent / "panels" / "one.png") as picture:
        assert picture.size == (600, 200)
