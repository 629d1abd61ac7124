"""The parameters by group and by rule, in tables of their own and in the column of the paper's tables."""

from pathlib import Path

import pytest

from barbench.reports.formats import markdown
from barbench.reports.tables.accounting import NUMBER
from barbench.reports.tables.build import build, build_measured
from barbench.reports.tables.grouping import group
from barbench.reports.write import EXTRA, write_reports
from barbench.results.record import Record
from barbench.results.resampled import ResampledScores
from barbench.results.store import Store
from barbench.spec.accounting import PRESETS, CountRule, parse_rule
from tests.reports.conftest import Make

NEW = {
    "adapter": 2_205_920, "positional": 559_360, "head": 22_745_601, "frozen": 149_430_016,
    "own": 2_205_920, "norms": 0, "biases": 0, "weights": 0,
    "vision": 86_041_344, "text": 63_388_672, "vision_positions": 519_936, "text_positions": 39_424,
}  # fmt: skip


def new(make: Make) -> Record:
    return make("barleria", "refcoco+", {"val": 64.0}, fields={"ledger": NEW})


def parameters(records: list[Record], rule: CountRule, label: str = "BarLeRIa") -> str:
    [table] = build_measured("5", group(records)) if rule == CountRule() else build("5", group(records), rule=rule)
    place = next(place for place, header in enumerate(table.headers) if header.name.startswith("Params"))
    rows = [row for section in table.sections for row in section.rows if row[0].text == label and row[place].text]
    return rows[-1][place].text


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (CountRule(), "2.21"),
        (PRESETS["barleria"], "1.476"),
        (PRESETS["etris"], "2.564"),
        (PRESETS["cola"], "14.263"),
        (parse_rule("own+positions", "towers"), "1.844"),
        (parse_rule("all", None), "25.51"),
    ],
)
def test_the_column_follows_the_rule(make: Make, rule: CountRule, text: str) -> None:
    assert parameters([new(make)], rule) == text


def test_the_table_says_the_rule_and_leaves_the_papers_numbers_out(make: Make) -> None:
    [table] = build("5", group([new(make)]), rule=PRESETS["cola"])
    assert "Params (%)" in [header.name for header in table.headers]
    [note] = [note for note in table.notes if note.startswith("Params")]
    assert "own + head, % of total" in note
    place = [header.name for header in table.headers].index("Params (%)")
    assert {row[place].text for row in table.sections[0].rows} == {""}
    [plain] = build("5", group([new(make)]))
    assert any("adapter group only" in note for note in plain.notes)


def test_an_old_record_counts_as_far_as_it_goes(make: Make) -> None:
    old = make("barleria", "refcoco+", {"val": 64.0})
    assert parameters([old], CountRule()) == "2.21"
    assert parameters([old], parse_rule("adapter+head", None)) == "24.88"
    assert parameters([old], PRESETS["cola"]) == "not recorded"


def test_every_group_and_rule_in_one_table(make: Make, tmp_path: Path) -> None:
    store = Store(tmp_path / "results")
    store.save(new(make))
    store.save(make("etris", "refcoco+", {"val": 59.0}))
    [table] = EXTRA[NUMBER].build(group(store.all()), ResampledScores(store))
    old, recorded = ([entry.text for entry in row] for row in table.rows)
    assert recorded == [
        *("BarLeRIa", "2,205,920", "2,205,920", "0", "0", "0", "559,360", "22,745,601", "149,430,016"),
        *("2.564", "1.476", "1.471", "14.263"),
    ]
    assert old[:4] == ["ETRIS", "1,387,648", "not recorded", "not recorded"]
    assert old[-4:] == ["not recorded"] * 4
    text = markdown.render(table)
    assert "cola is own + head, % of total" in text
    [path] = write_reports(store, tmp_path / "out", ["parameters"], ["md"]).paths
    assert (path.name, path.read_text()) == ("parameters.md", text)
