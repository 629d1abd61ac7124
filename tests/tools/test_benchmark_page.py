"""The pages on the embedded benchmark say what its records say, word for word."""

import pytest

from tools.benchmark_page import MARK, PAGES, RESULTS, ROOT, Benchmark, filled

COMMAND = "python -m tools.benchmark_page"


@pytest.fixture(scope="module")
def blocks() -> dict[str, str]:
    return Benchmark(RESULTS).blocks()


@pytest.mark.parametrize("page", PAGES)
def test_every_number_of_a_page_is_made_from_the_records(page: str, blocks: dict[str, str]) -> None:
    text = (ROOT / page).read_text("utf-8")
    assert MARK.search(text)
    assert filled(text, blocks) == text, COMMAND


def test_every_block_has_a_place(blocks: dict[str, str]) -> None:
    named = set()
    for page in PAGES:
        named |= {match["name"] for match in MARK.finditer((ROOT / page).read_text("utf-8"))}
    assert named == set(blocks)


def test_every_method_has_every_seed() -> None:
    """Three seeds of each, finished, by one code and with the counts of expressions beside them."""
    field = Benchmark(RESULTS).field
    assert len(field.members.rows) == 28
    for row in field.members.rows:
        assert {record.cell.seed for record in row.records} == {0, 1, 2}
        assert all(record.status == "done" for record in row.records)


def test_a_mark_without_a_block_is_an_error() -> None:
    with pytest.raises(KeyError):
        filled("<!-- begin nothing -->\n<!-- end nothing -->", {})
