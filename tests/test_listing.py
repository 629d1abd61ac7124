"""The same rows as a table, as JSON and as CSV: parsed back by the standard library."""

import csv
import io
import json
from typing import Any

import pytest
from rich.console import Console

from barbench import listing
from barbench.listing import Format, print_rows, progress_bar

ROWS: list[dict[str, Any]] = [
    {"name": "a,b", "ledger": {"adapter": 1234567, "head": 0}, "parts": ["x", "y"], "share": 0.123456, "note": None},
    {"name": "zwei „Wörter“", "ledger": {"adapter": 8, "head": 1}, "parts": [], "share": 2.0, "note": "n"},
]


def printed(capsys: pytest.CaptureFixture[str], format_: Format, rows: list[dict[str, Any]] = ROWS) -> str:
    print_rows(rows, format_, "a title")
    return capsys.readouterr().out


def test_json_is_the_rows_themselves(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, Format.json)
    assert json.loads(text) == ROWS
    assert "Wörter" in text


def test_csv_flattens_mappings_and_joins_lists(capsys: pytest.CaptureFixture[str]) -> None:
    rows = list(csv.DictReader(io.StringIO(printed(capsys, Format.csv))))
    assert list(rows[0]) == ["name", "ledger.adapter", "ledger.head", "parts", "share", "note"]
    assert list(rows[0].values()) == ["a,b", "1234567", "0", "x y", "0.123456", ""]
    assert rows[1]["parts"] == ""


def test_csv_has_a_column_that_only_a_later_row_has(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, Format.csv, [{"method": "a", "speed": 1}, {"method": "b", "failed": "why"}])
    assert text.splitlines() == ["method,speed,failed", "a,1,", "b,,why"]


def test_table_holds_every_value_with_thousands(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, Format.table)
    for part in ("a title", "1,234,567", "x, y", "0.1235", "zwei „Wörter“", "adapter"):
        assert part in text
    assert max(map(len, text.splitlines())) <= 160


def test_user_text_is_not_read_as_markup(capsys: pytest.CaptureFixture[str]) -> None:
    assert "[bold]x[/y]" in printed(capsys, Format.table, [{"name": "[bold]x[/y]"}])


def test_no_rows_are_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert json.loads(printed(capsys, Format.json, [])) == []
    printed(capsys, Format.table, [])
    printed(capsys, Format.csv, [])


def test_progress_in_a_pipe_is_a_line_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter([0.0, 29.0, 31.0, 60.0, 61.5])
    monkeypatch.setattr(listing.time, "monotonic", lambda: next(clock))
    with progress_bar("drawing") as progress:
        for done in range(4):
            progress(done, 4000)
    assert capsys.readouterr() == ("", "drawing 1/4,000\ndrawing 3/4,000\n")


def test_progress_that_is_not_to_be_shown_is_not(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(listing, "LINE_SECONDS", 0.0)
    with progress_bar("drawing", shown=False) as progress:
        progress(1, 2)
    assert capsys.readouterr() == ("", "")


WIDE = {
    "split": "refcoco+ testA", "mIoU": 61.2345, "oIoU": 60.1, **{f"P@0.{i}": 50.1234 for i in range(5, 10)},
    "swapped mIoU": None, "expressions": 10758, "problems": ["sentence without words: 1", "empty mask: 3"],
    "ledger": {"adapter": 1234567, "positional": 89}, "reason": "x" * 70,
}  # fmt: skip


@pytest.mark.parametrize("width", [60, 80, 100, 160, 300])
def test_no_heading_and_no_number_is_cut(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(listing, "Console", lambda width=width, asked=width: Console(width=asked))
    print_rows([WIDE, WIDE | {"split": "val", "swapped mIoU": 4.25}], Format.table, "a title")
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= width
    assert text.count("a title") == 1
    words = text.replace("│", " ").replace("┃", " ").split()
    headings = "split mIoU oIoU P@0.5 P@0.9 swapped expressions problems adapter positional reason"
    assert set(headings.split()) <= set(words)
    numbers = ["61.23", "10,758", "1,234,567", "4.25", "89"]
    assert all(words.count(number) == (1 if number == "4.25" else 2) for number in numbers)
    assert sum(word.count("x") for word in words if set(word) == {"x"}) == 140  # long words are folded, nothing is lost
