"""The page's pure functions in Node.js: what a search finds, which columns are shown, how rows are sorted."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[3] / "barbench/reports/page/templates/pure.js"
NODE = shutil.which("node")
pytestmark = pytest.mark.skipif(NODE is None, reason="no Node.js on this machine")


def run(expression: str) -> Any:
    """The value of an expression, in which the functions have their names."""
    code = f"Object.assign(globalThis, require({json.dumps(str(SCRIPT))}));"
    code += f"process.stdout.write(JSON.stringify({expression}))"
    assert NODE
    return json.loads(subprocess.run([NODE, "-e", code], check=True, capture_output=True, text=True).stdout)


ROW = {"method": "SNF+ETRIS", "tuned": "1.572", "miou-average": "39.8±1.2", "seed": "1", "commit": "0123456789"}


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", True),
        ("snf", True),
        ("SNF etris", True),
        ("barleria", False),
        ("seed=1", True),
        ("seed=10", False),
        ("seed=0", False),
        ("tuned<2", True),
        ("tuned<1.572", False),
        ("tuned<=1.572", True),
        ("miou-average>39", True),
        ("miou-average>40", False),
        ("snf tuned>2", False),
        ("nothing=1", False),
        ("constructor=1", False),
    ],
)
def test_a_query_finds_words_values_and_bounds(query: str, found: bool) -> None:
    assert run(f"fits({json.dumps(ROW)}, {json.dumps(query)})") is found


def test_a_number_with_commas_is_a_number() -> None:
    assert run("fits({seconds: '1,234'}, 'seconds>1000')") is True


@pytest.mark.parametrize(
    ("group", "name", "key"),
    [("", "Tuned (M)", "tuned"), ("mIoU", "RefCOCO+ val", "miou-refcoco+-val"), ("", "Gap closed", "gap-closed")],
)
def test_the_name_of_a_column_in_a_query(group: str, name: str, key: str) -> None:
    assert run(f"columnKey({json.dumps(group)}, {json.dumps(name)})") == key


def test_columns_of_a_metric_and_a_split() -> None:
    columns = [{"group": g, "name": n} for g in ("mIoU", "oIoU") for n in ("val", "testA")]
    columns = [{"group": "", "name": "Method"}, *columns]
    given = json.dumps(columns)
    assert run(f"shownColumns({given}, 'oIoU', '')") == [True, False, False, True, True]
    assert run(f"shownColumns({given}, '', 'val')") == [True, True, False, True, False]
    assert run(f"shownColumns({given}, 'mIoU', 'testA')") == [True, False, True, False, False]
    assert run(f"shownColumns({given}, '', '')") == [True] * 5


def test_numbers_are_sorted_before_texts_and_equal_ones_keep_their_order() -> None:
    rows = [["b", "-"], ["a", 2], ["c", 10], ["d", 2]]
    given = json.dumps(rows)
    assert [r[0] for r in run(f"inOrder({given}, (r) => r[1], 1)")] == ["a", "d", "c", "b"]
    assert [r[0] for r in run(f"inOrder({given}, (r) => r[1], -1)")] == ["c", "a", "d", "b"]
    assert [r[0] for r in run(f"inOrder({given}, (r) => r[0], -1)")] == ["d", "c", "b", "a"]


SET = {  # four expressions, two methods
    "iou": [[900, 500, 0, 500], [100, 501, 0, 900]],  # the second 500 was 0.5003
    "outcome": [[0, 6, 1, 0], [6, 0, 1, 0]],
    "category": [0, 1, 0, 1],
    "size": [0, 1, 2, 1],
    "rivals": [0, 1, 3, 5],
    "text": ["the left dog", "red car", "dog", "the red bus on the left"],
}
ANY = dict.fromkeys(("b", "relation", "low", "high", "outcome", "category", "size", "rivals", "words"), "")


@pytest.mark.parametrize(
    ("wish", "rows"),
    [
        ({}, [0, 1, 2, 3]),
        ({"low": "50.1"}, [0]),
        ({"low": "0", "high": "50"}, [1, 2, 3]),
        ({"b": "1", "relation": "right-wrong"}, [0]),
        ({"b": "1", "relation": "wrong-right"}, [1]),  # 0.5 is not right, as for P@0.5
        ({"b": "1", "relation": "wrong-wrong"}, [2]),
        ({"relation": "right-wrong"}, [0, 1, 2, 3]),  # without B there is nothing to compare
        ({"outcome": "1"}, [2]),
        ({"a": "1", "outcome": "0"}, [1, 3]),
        ({"category": "0"}, [0, 2]),
        ({"size": "1"}, [1, 3]),
        ({"rivals": "3"}, [2, 3]),
        ({"rivals": "0"}, [0]),
        ({"words": "RED left"}, [3]),
        ({"order": "worst"}, [2, 1, 3, 0]),
        ({"order": "best"}, [0, 1, 3, 2]),
        ({"b": "1", "order": "difference"}, [0, 2, 1, 3]),
    ],
)
def test_expressions_that_a_wish_leaves(wish: dict[str, str], rows: list[int]) -> None:
    given = json.dumps({"a": "0", "order": "file", **ANY, **wish})
    assert run(f"matchingRows({json.dumps(SET)}, {given})") == rows


def test_what_is_not_known_of_expressions_filters_nothing() -> None:
    bare = {name: SET[name] for name in ("iou", "outcome", "size")}
    given = json.dumps({"a": "0", "order": "file", **ANY, "category": "1", "rivals": "2"})
    assert run(f"matchingRows({json.dumps(bare)}, {given})") == [0, 1, 2, 3]
