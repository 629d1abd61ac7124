"""The two averaging rules against formulas written out, and rounding as on paper."""

import pytest

from barbench.paper.tables import Column
from barbench.reports.tables.averages import average, millions, over_seeds, printed

SCORES = [("RefCOCO", 70.0), ("RefCOCO", 74.0), ("RefCOCO+", 60.0)]


def test_the_rules_differ_where_datasets_have_different_numbers_of_columns() -> None:
    assert average("datasets", SCORES) == ((70 + 74) / 2 + 60) / 2
    assert average("columns", SCORES) == (70 + 74 + 60) / 3
    with pytest.raises(ValueError, match="no values"):
        average("datasets", [])


def test_ties_are_rounded_up_as_on_paper() -> None:
    lisa = (74.9, 79.1, 72.3, 65.1, 70.8, 58.1, 67.9, 70.6)
    assert printed(sum(lisa) / 8) == "69.9"  # 69.85 exactly; the binary sum may lie below
    assert printed(0.25) == "0.3"
    assert printed(0.249) == "0.2"
    assert printed(-0.04) == "0.0"
    assert printed(-0.06) == "-0.1"
    assert printed(2.20592, 2) == "2.21"


def test_seeds_are_averaged_before_they_are_summarised() -> None:
    val, plus = Column("refcoco", "val"), Column("refcoco+", "val")
    summary = over_seeds("columns", {val: {0: 10.0, 1: 20.0}, plus: {0: 30.0, 1: 20.0}}, [val, plus])
    assert summary is not None
    assert (summary.mean, summary.margin) == (20.0, 0.0)
    unlike = over_seeds("columns", {val: {0: 10.0, 1: 20.0}, plus: {0: 30.0}}, [val, plus])
    assert unlike is not None
    assert (unlike.mean, unlike.known) == (22.5, False)
    assert over_seeds("columns", {}, [val]) is None


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0.00"), (1_920, "0.002"), (29_760, "0.030"), (100_000, "0.10"), (184_416, "0.18"), (2_205_920, "2.21")],
)
def test_a_small_method_has_parameters(count: int, text: str) -> None:
    """The last two are the paper's."""
    assert millions(count) == text
