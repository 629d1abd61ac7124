"""Rows of CSV, TSV and JSON: columns, separators, encodings, quotes."""

import json
from pathlib import Path

import numpy as np
import pytest

from barbench.datasets.importers.rows import NoTable, read_rows
from barbench.errors import DataError
from tests.datasets.importers.small_table import BOX, write_csv

ROWS = [
    {"image": "a.png", "expression": "the café", "polygon": BOX, "split": "train"},
    {"image": "b.png", "expression": "the box", "polygon": BOX, "split": "val"},
]


def read(path: Path) -> list[dict[str, object]]:
    return [row for _, row in read_rows(path)]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("form", ["csv", "tsv", "list", "lines"])
def test_every_form_with_and_without_a_byte_order_mark(form: str, encoding: str, tmp_path: Path) -> None:
    path = tmp_path / f"mine.{ {'list': 'json', 'lines': 'jsonl'}.get(form, form) }"
    if form == "list":
        path.write_text(json.dumps(ROWS), encoding=encoding)
    elif form == "lines":
        path.write_text("\n".join(map(json.dumps, ROWS)), encoding=encoding)
    else:
        write_csv(path, ROWS, "\t" if form == "tsv" else ",", encoding)
    assert read(path) == ROWS


def test_a_field_of_half_a_million_characters(tmp_path: Path) -> None:
    long = json.dumps(np.arange(90_000).tolist())
    assert len(long) > 500_000
    path = write_csv(tmp_path / "mine.csv", [{**ROWS[0], "polygon": long}])
    assert read(path)[0]["polygon"] == long


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("image,mask,split,expression\na.png,m.png,val,the box, on the left\n",
         r"row 2 has 5 fields and the header 4: a field with a comma .*double quotes"),
        ('image,expression,mask\na.png,"the box,m.png\nb.png,the dog,m.png\n', "row 3: unexpected end of data"),
        ('image,expression,mask\na.png,"the "red" box",m.png\n', "row 2: .*quotes inside of it are doubled"),
        ("image,expression,mask,expression\na,b,c,d\n", "the column 'expression' is there twice"),
    ],
)  # fmt: skip
def test_a_row_that_would_lose_words_is_named(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text(text)
    with pytest.raises(DataError, match=words):
        read(tmp_path / "mine.csv")


def test_other_separators_and_spellings_are_named(tmp_path: Path) -> None:
    semicolon = write_csv(tmp_path / "semicolon.csv", ROWS, ";")
    with pytest.raises(NoTable, match="has one column, image;expression;polygon;split: a semicolon seems to part"):
        read(semicolon)
    with pytest.raises(NoTable, match=r"one column, .*: a tab seems to part"):
        read(write_csv(tmp_path / "tab.csv", ROWS, "\t"))
    with pytest.raises(NoTable, match=r"one column, .*: a comma seems to part"):
        read(write_csv(tmp_path / "comma.tsv", ROWS))
    capitals = [{key.title(): value for key, value in row.items()} for row in ROWS]
    with pytest.raises(NoTable, match="has the column 'Image'; a table calls it 'image'"):
        read(write_csv(tmp_path / "capitals.csv", capitals))
    one_capital = [{**{k: v for k, v in row.items() if k != "split"}, "Split": row["split"]} for row in ROWS]
    with pytest.raises(NoTable, match="has the column 'Split'; a table calls it 'split'"):
        read(write_csv(tmp_path / "split.csv", one_capital))
    with pytest.raises(NoTable, match="has the columns file, text; a table needs image and expression"):
        read(write_csv(tmp_path / "none.csv", [{"file": "a", "text": "b"}]))


def test_other_encodings_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"row 2 is not UTF-8 \(the byte 0xe9; older Windows programs write cp1252"):
        read(write_csv(tmp_path / "old.csv", ROWS, encoding="cp1252"))
    with pytest.raises(DataError, match=r"is UTF-16, .*: save it as UTF-8"):
        read(write_csv(tmp_path / "utf16.csv", ROWS, "\t", "utf-16"))
