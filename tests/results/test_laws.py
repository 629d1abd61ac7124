"""A record survives its way to the disk and back, whatever it holds; a name or a reason of any text is no markup."""

import re
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from barbench.errors import printable
from barbench.reports.formats import latex, markdown
from barbench.results.record import Cell, EpochLog, Record, Scores, SplitResult
from barbench.results.store import Store

quick = settings(
    max_examples=100, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)
text = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)
number = st.floats(allow_nan=False, allow_infinity=False)
ratio = st.floats(0, 1)
plain = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**53), 2**53), number, text),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(text, inner, max_size=3)),
    max_leaves=6,
)
scores = st.builds(
    Scores, **dict.fromkeys(("miou", "oiou", "p50", "p60", "p70", "p80", "p90"), ratio), n=st.integers(1, 10**6)
)
splits = st.builds(SplitResult, scores=scores, control=st.none() | scores, column=text, images=st.integers(0, 10**6),
                   references=st.integers(0, 10**6))  # fmt: skip
epochs = st.builds(EpochLog, epoch=st.integers(1, 99), loss=number, lr=number, seconds=number, steps=st.integers(1, 99))
cells = st.builds(
    Cell, method=text, options=st.dictionaries(text, plain, max_size=3), backbone=text, weights=text,
    image_size=st.none() | st.integers(1, 4096), dataset=text, recipe=st.dictionaries(text, plain, max_size=4),
    seed=st.integers(0, 2**31), data=st.fixed_dictionaries({"kind": st.just("refer"), "fingerprint": text}),
    precision=st.sampled_from(["fp32", "bf16"]), processes=st.integers(1, 8),
)  # fmt: skip


@st.composite
def records(draw: st.DrawFn) -> Record:
    cell = draw(cells)
    done = draw(st.booleans())
    fields: dict[str, Any] = {
        "status": "done" if done else draw(st.sampled_from(["failed", "out-of-memory"])),
        "reason": None if done else draw(text),
        "splits": draw(st.dictionaries(text, splits, min_size=1, max_size=2)) if done else {},
    }
    return Record(
        id=cell.id(), cell=cell, title=draw(text), composition=tuple(draw(st.lists(text, max_size=3))),
        ledger=draw(st.dictionaries(text, st.integers(0, 10**9), max_size=3)),
        history=tuple(draw(st.lists(epochs, max_size=2))), notes=tuple(draw(st.lists(text, max_size=2))),
        environment=draw(st.dictionaries(text, plain, max_size=2)), **fields,
    )  # fmt: skip


@quick
@given(record=records(), column=st.lists(st.integers(-(2**62), 2**62), min_size=1, max_size=9))
def test_a_record_comes_back_as_it_was_saved(record: Record, column: list[int]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        path = store.save(record, {"val/intersection": np.array(column)})
        loaded = store.load(record.cell)
        assert loaded is not None
        assert loaded.model_copy(update={"files": {}}) == record  # the store adds the hash of the arrays
        assert store.expressions(record.cell)["val/intersection"].tolist() == column
        assert store.unreadable == store.set_aside == []
        again = Store(Path(folder)).save(record, {"val/intersection": np.array(column)})
        assert again == path


@quick
@given(written=st.text(max_size=60))
def test_markdown_shows_the_text_and_no_markup(written: str) -> None:
    """As a cell of a table: what a renderer makes of it is the text itself, and one cell."""
    shown = markdown.escape(printable(written))
    (_, _, _, *cells) = MarkdownIt("gfm-like", {"linkify": False}).parse(f"| a |\n| - |\n| x{shown}x |\n")
    (content,) = [token for token in cells if token.type == "inline" and token.content.startswith("x")]
    assert content.children is not None
    assert {child.type for child in content.children} <= {"text", "text_special"}
    flat = "".join(child.content for child in content.children)
    assert flat == f"x{' '.join(printable(written).split())}x"


@quick
@given(written=st.text(max_size=60))
def test_latex_shows_the_text_and_runs_no_command(written: str) -> None:
    """Once the commands that `escape` itself writes are gone, no character is left that means anything to LaTeX."""
    shown = latex.escape(written)
    own = (
        r"\\(textbackslash|textasciitilde|textasciicircum|textendash|textemdash|dots)\{\}|\\texttt\{U\+[0-9A-F]{4,6}\}"
    )
    rest = re.sub(rf"{own}|\\\((<|>|\||\\pm|\\times|\\surd)\\\)|\\[&%$#_{{}}]|-\{{\}}", "", shown)
    assert not re.search(r"[\\{}$&#^_~%]", rest)
    assert "\n" not in shown
