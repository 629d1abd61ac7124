"""The baseline file: written to be read by people, read with suspicion, and kept by platform."""

from pathlib import Path

import pytest

from barbench.errors import DataError, UsageError
from barbench.regression.baseline import COMMITTED, Baseline, load, platform_key, save
from barbench.regression.check import SCORES, Gate
from tools.gate.__main__ import REPOSITORY


def test_a_baseline_survives_the_round_trip(tmp_path: Path) -> None:
    made = Baseline().accept({"ledger": {"a": 3, "b": 12345678901}}, {"speed": {"x": 1.5, "y": [0.1, 1e-9]}})
    save(made, tmp_path / "b.json")
    assert load(tmp_path / "b.json", "update") == made
    assert made.section("ledger", portable=True) == {"a": 3, "b": 12345678901}
    assert made.section("speed", portable=False) == {"x": 1.5, "y": [0.1, 1e-9]}
    assert made.section("speed", portable=True) is None


def test_one_changed_entry_is_one_changed_line(tmp_path: Path) -> None:
    first = Baseline().accept({"ledger": {"a": 3, "b": 4}}, {"memory": {"a": 7}})
    for name, baseline in (("1", first), ("2", first.accept({"ledger": {"a": 3, "b": 5}}, {}))):
        save(baseline, tmp_path / name)
    lines = [(tmp_path / name).read_text().splitlines() for name in "12"]
    assert [pair for pair in zip(*lines, strict=True) if pair[0] != pair[1]] == [('   "b": 4', '   "b": 5')]


def test_accepting_a_section_leaves_others_and_other_platforms() -> None:
    elsewhere = {"torch 1.0, Plan 9 mips": {"memory": {"a": 1}}}
    old = Baseline(everywhere={"flops": {"a": 2}}, platforms=elsewhere)
    new = old.accept({"ledger": {"a": 3}}, {"memory": {"a": 4}})
    assert new.everywhere == {"flops": {"a": 2}, "ledger": {"a": 3}}
    assert new.platforms == {**elsewhere, platform_key(): {"memory": {"a": 4}}}


@pytest.mark.parametrize(
    "text", ["", "[]", '{"schema_version": 2}', '{"everywhere": {"ledger": {"a": "3"}}}', '{"everywhere": {"x": 1}}',
             '{"everywhere": {"models": {"a": NaN}}}', '{"more": 1}']
)  # fmt: skip
def test_what_is_no_baseline_is_refused_by_name(text: str, tmp_path: Path) -> None:
    path = tmp_path / "b.json"
    path.write_text(text)
    with pytest.raises(DataError, match=r"b\.json is no baseline"):
        load(path, "update")


def test_no_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--update"):
        load(tmp_path / "none.json", "barbench check --update")


@pytest.mark.parametrize("gate", [SCORES, REPOSITORY], ids=lambda gate: gate.check)
def test_the_committed_baselines_hold_every_section(gate: Gate, tmp_path: Path) -> None:
    committed = load(gate.baseline, gate.update)
    assert committed.everywhere.keys() == {name for name, section in gate.sections.items() if section.portable}
    for sections in committed.platforms.values():
        assert sections.keys() == {name for name, section in gate.sections.items() if not section.portable}
    save(committed, tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == gate.baseline.read_bytes()


def test_the_two_gates_share_no_section_and_the_wheel_holds_one_baseline() -> None:
    assert not SCORES.sections.keys() & REPOSITORY.sections.keys()
    assert SCORES.baseline == COMMITTED
    assert COMMITTED.parents[1].name == "barbench"
    assert REPOSITORY.baseline.parents[2] == COMMITTED.parents[2]
    assert REPOSITORY.baseline.parents[1].name == "tools"
