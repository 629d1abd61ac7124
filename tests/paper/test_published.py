"""The paper's numbers: each one found in the paper's own text where that is at hand, and the rules that they obey."""

import re
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path

import pytest

from barbench.paper.published import PublishedRow, published_rows, text_misprints
from barbench.reports.tables.averages import average, printed

TABLES = ("1", "2", "3", "4", "5")
RULES = {"1": "datasets", "2": "columns", "3": "columns", "4": "datasets", "5": "datasets"}
NUMBER = re.compile(r"\d+\.\d+")


def every_row() -> Iterator[PublishedRow]:
    for table in TABLES:
        yield from published_rows(table)


def numbers(row: PublishedRow) -> list[str]:
    return [cell.printed for cell in row.cells if cell.kind not in ("label", "component")]


def named(table: str, method: str) -> PublishedRow:
    [row] = [row for row in published_rows(table) if row.method == method]
    return row


def scores(row: PublishedRow, corrected: bool = True) -> list[tuple[str, float]]:
    values = [(c.dataset, c.corrected_value if corrected else c.value) for c in row.cells if c.kind == "iou"]
    return [(dataset, value) for dataset, value in values if value is not None]


@pytest.fixture(scope="module")
def paper() -> str:
    candidates = (folder / "shared" / "paper.md" for folder in Path(__file__).resolve().parents)
    found = next((path for path in candidates if path.is_file()), None)
    if found is None:
        pytest.skip("shared/paper.md is not beside this repository")
    return found.read_text("utf-8")


def parsed(text: str) -> dict[str, list[list[str]]]:
    """Table -> rows -> tab-separated cells, of every line with tabs and at least four decimals; the caption follows."""
    lines = text.splitlines()
    tables: dict[str, list[list[str]]] = {}
    for at, line in enumerate(lines):
        if "\t" in line and len(NUMBER.findall(line)) >= 4:
            caption = next(m[1] for later in lines[at:] if (m := re.match(r"Table (\d):", later)))
            tables.setdefault(caption, []).append(line.split("\t"))
    return tables


def unmarked(cell: str) -> str:
    return re.sub(r"<sup>.*?</sup>|<[^>]+>", "", cell).strip()


def letters(text: str) -> str:
    return re.sub(r"\W", "", text)


def test_every_printed_number_is_the_papers(paper: str) -> None:
    tables = parsed(paper)
    assert sorted(tables) == list(TABLES)
    for table, lines in tables.items():
        rows = published_rows(table)
        assert len(lines) == len(rows)
        for cells, row in zip(lines, rows, strict=True):
            found = [m[0] for cell in map(unmarked, cells[1:]) if (m := re.search(r"(?<![\w.])(\d+\.\d+|-)$", cell))]
            components = [cell for cell in row.cells if cell.kind == "component"]
            dashes = sum(cell.printed == "-" for cell in components)
            assert found[dashes:] == numbers(row), (table, row.method)
            label = letters("".join(map(unmarked, takewhile(lambda cell: not NUMBER.search(cell), cells))))
            assert label.startswith(letters(row.method)[:6])
            whole = "".join(cells)
            assert ("†" in whole or "dagger" in whole) == (row.dagger == "†")
            cited = re.search(r"\((\w+ et al\., \d{3}\)?\d\w?)", whole)  # a line break cut one year in two
            assert row.citation == (cited[1].replace(")", "") if cited else "")
            marked = [cell for cell in cells if re.search("<[ub]>", cell)]
            assert [cell.printed for cell in row.cells if cell.mark] == [unmarked(cell) for cell in marked]
            assert [cell.mark[0] for cell in row.cells if cell.mark] == [re.search("<([ub])>", m)[1] for m in marked]


def test_check_marks_are_the_papers(paper: str) -> None:
    signs = {r"$\checkmark$": "✓", r"$\times$": "×", "Х": "×", "×": "×", "-": "-"}  # one × is a Cyrillic letter there
    for cells, row in zip(parsed(paper)["4"], published_rows("4"), strict=True):
        assert [signs[cell] for cell in cells[1:4]] == [c.printed for c in row.cells if c.kind == "component"]


def test_quoted_sentences_are_the_papers(paper: str) -> None:
    text = " ".join(re.sub(r"<[^>]+>", "", paper).split())
    for table in TABLES:
        for misprint in text_misprints(table):
            assert misprint.printed in text


def test_all_rows_and_columns_are_there() -> None:
    assert [len(published_rows(table)) for table in TABLES] == [16, 7, 4, 6, 6]
    widths = {"1": 9 + 1, "2": 8 + 1, "3": 8 + 1, "4": 1 + 3 + 1, "5": 1 + 9 + 1}
    assert all(len(numbers(row)) == widths[row.table] for row in every_row())
    assert [row.order for row in published_rows("1")] == list(range(1, 17))
    assert {row.harness for row in published_rows("5")} == {"", "etris", "snf", "snf-etris", "no-global", "barleria"}


@pytest.mark.parametrize("table", TABLES)
def test_printed_averages_obey_the_tables_rule(table: str) -> None:
    for row in published_rows(table):
        avg = row.cell("", "Avg")
        assert avg is not None
        if len({dataset for dataset, _ in scores(row)}) < 3:
            assert avg.printed == "-"
        elif not avg.reason:
            splits = (
                named("5", row.method) if table == "4" else row
            )  # Table 4 averages before it rounds: 66.5, not 66.4
            assert avg.printed == printed(average(RULES[table], scores(splits))), row.method


def test_the_averages_that_do_not() -> None:
    noted = {(row.table, row.method): cell for row in every_row() for cell in row.cells if cell.kind == "average"}
    noted = {key: cell for key, cell in noted.items() if cell.reason}
    assert {key: (cell.printed, cell.corrected) for key, cell in noted.items()} == {
        ("1", "BRINet"): ("52.5", ""),
        ("2", "ETRIS"): ("66.1", "66.7"),
    }
    brinet, etris = ((61.4 + 63.4 + 59.6) / 3, (48.6 + 52.9 + 42.1) / 3, 48.0), named("2", "ETRIS")
    assert f"{sum(brinet) / 3:.2f}" == "52.44"
    both = [printed(average(rule, scores(etris))) for rule in ("columns", "datasets")]
    assert both == ["66.7", "66.3"]
    assert all(text in noted["2", "ETRIS"].reason for text in both)


def test_known_misprints_are_corrected() -> None:
    for table, method, plus in (
        ("2", "PolyFormer-B", ("67.6", "72.9", "59.3")),
        ("3", "PolyFormer-L", ("69.3", "74.6", "61.9")),
    ):
        row = named(table, method)
        cells = [row.cell("RefCOCO+", split) for split in ("val", "testA", "testB")]
        assert [cell.corrected or cell.printed for cell in cells] == list(plus)
        assert [cell.printed for cell in cells] == [plus[0], plus[2], plus[1]]
    label = named("1", "CMPC+").cell("", "Method")
    assert (label.printed, label.corrected) == ("CMPC+", "CMPC")
    for table in ("1", "5"):
        doubtful = [c.column for c in named(table, "ReSTR").cells if c.reason]
        assert doubtful == ["val(u)", "val(g)"]
    corrected = {(row.table, row.method) for row in every_row() for cell in row.cells if cell.corrected}
    assert corrected == {("1", "CMPC+"), ("2", "PolyFormer-B"), ("2", "ETRIS"), ("3", "PolyFormer-L")}
    assert all(cell.reason for row in every_row() for cell in row.cells if cell.corrected)


def test_swapped_columns_were_ranked_as_corrected() -> None:
    """61.2 and 65.4 are underlined as second on RefCOCO+ testB: true of the corrected columns only."""
    for table in ("2", "3"):
        rows = published_rows(table)
        [second] = [row.cell("RefCOCO+", "testB").value for row in rows if row.cell("RefCOCO+", "testB").mark]
        as_corrected = sorted((row.cell("RefCOCO+", "testB").corrected_value for row in rows), reverse=True)
        as_printed = sorted((row.cell("RefCOCO+", "testB").value for row in rows), reverse=True)
        assert as_corrected[1] == second != as_printed[1]


def test_the_underline_that_is_not_second() -> None:
    [at] = [(row, cell) for row in every_row() for cell in row.cells if "Underlined" in cell.reason]
    assert (at[0].method, at[1].column, at[1].mark) == ("UNINEXT-R50", "test(u)", "underline")
    column = sorted((row.cell("G-Ref", "test(u)").value for row in published_rows("2")), reverse=True)
    assert column.index(at[1].value) == 2


def test_table_4_is_table_5_averaged_and_table_1_repeats_it() -> None:
    for brief, full in zip(published_rows("4"), published_rows("5"), strict=True):
        assert brief.method == full.method
        for dataset, value in scores(brief):
            columns = [(name, score) for name, score in scores(full) if name == dataset]
            assert printed(average("columns", columns)) == printed(value)
    for method, name in (("ReSTR", "ReSTR"), ("ETRIS", "ETRIS"), ("Ours", "BarLeRIa")):
        assert scores(named("1", method)) == scores(named("5", name))


def test_metrics_are_those_of_the_protocol() -> None:
    overall = (
        "MAttNet CAC BRINet RRN CMSA CMPC+ LAVT LISA-7B LISA-7B(ft) PolyFormer-B PolyFormer-L UNINEXT-R50 UNINEXT-L "
        "ReSTR"
    )
    assert {row.method.replace(" ", "") for row in every_row() if row.metric == "overall"} == set(overall.split())
    assert {row.method for row in every_row() if row.metric == "unknown"} == {"PCAN", "WiCo"}
    assert {row.method for row in every_row() if row.metric == "mean"} >= {"VLT", "CRIS", "CGAN", "LTS"}
    assert {row.metric for row in every_row() if row.harness} == {"mean"}


def test_claims_of_the_text_recomputed() -> None:
    etris, ours = (average("columns", scores(named("2", name))) for name in ("ETRIS", "BarLeRIa"))
    claims = {misprint.corrected for table in TABLES for misprint in text_misprints(table)}
    assert f"+{ours - etris:.1f} IoU" in claims
    assert f"{100 * (ours / etris - 1):.1f}%" in claims
    assert f"{100 * 0.39 / 1.39:.0f}%" in claims
    assert f"{141_564 - 10_758 - 5_726 - 4_889:,}" in claims
    places = []
    for position, (_, column) in enumerate(scores(named("1", "Ours"))):
        cells = [[c for c in row.cells if c.kind == "iou"][position].value for row in published_rows("1")]
        places.append(1 + sum(value is not None and value > column for value in cells))
    assert f"{places.count(1)} first, {places.count(2)} second, {places.count(3)} third" in claims


def test_mixed_rows_are_those_with_a_dagger() -> None:
    assert all((row.dagger == "†") == (row.mixed == "yes") for row in every_row())
    assert {row.method for row in every_row() if row.harness and row.mixed == "yes"} == {
        "BarLeRIa-Mixed",
        "BarLeRIa-L-Mixed",
    }
    assert {row.method for row in every_row() if row.extra_data != "none"} == {
        *("LISA-7B", "LISA-7B (ft)", "PolyFormer-B", "PolyFormer-L", "UNINEXT-R50", "UNINEXT-L")
    }
