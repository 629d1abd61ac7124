"""Notes of rows that come from different code or devices, and costs that are compared on one device alone."""

from typing import Any

import pytest

from barbench.reports.page.frames import costs
from barbench.reports.tables.grouping import group
from barbench.results.record import AttemptLog, Record
from barbench.results.store import Store
from tests.reports.conftest import Make
from tests.reports.parsed_tables import one
from tests.reports.runs import save

H100 = {"device": "NVIDIA H100", "code": "aaaaaaaaaaaa"}
A100 = {"device": "NVIDIA A100", "code": "bbbbbbbbbbbb"}


def notes(*records: Record) -> list[str]:
    return [note for note in one("5", list(records)).notes if "different" in note or "changed" in note]


def at(make: Make, method: str, environment: dict[str, object], seed: int = 0, **fields: object) -> Record:
    return make(method, "refcoco", {"val": 50.0}, seed=seed, fields={"environment": environment, **fields})


def test_rows_of_one_place_need_no_note(make: Make) -> None:
    assert notes(at(make, "etris", H100), at(make, "snf", H100), at(make, "barleria", {})) == []


def test_mixed_code_and_devices_are_named_with_their_rows(make: Make) -> None:
    records = [at(make, "etris", H100), at(make, "snf", A100), at(make, "barleria", H100), at(make, "snf", H100, 1)]
    assert notes(*records) == [
        "Made by different versions of barbench: aaaaaaaaaaaa (ETRIS, SNF, BarLeRIa); bbbbbbbbbbbb (SNF).",
        "Computed on different devices, so that the last digits may differ: NVIDIA A100 (SNF); "
        "NVIDIA H100 (ETRIS, SNF, BarLeRIa).",
    ]


def test_a_cell_that_moved_was_on_both_devices(make: Make) -> None:
    logs = [
        AttemptLog(number=number, executor="slurm", host="01234567", how=how, device=device)
        for number, (how, device) in enumerate([("stopped", "NVIDIA A100"), ("done", "NVIDIA H100")], 1)
    ]
    [note] = notes(at(make, "etris", H100, attempts=logs))
    assert note.endswith(": NVIDIA A100 (ETRIS); NVIDIA H100 (ETRIS).")


def test_threads_change_the_last_digits_on_a_processor(make: Make) -> None:
    cpu, gpu = {"device": "Some CPU", "gpus": []}, {"device": "NVIDIA H100", "gpus": ["NVIDIA H100"]}
    [note] = notes(at(make, "etris", cpu | {"threads": 1}), at(make, "snf", cpu | {"threads": 2}))
    assert note.endswith("numbers of threads, so that the last digits may differ: 1 (ETRIS); 2 (SNF).")
    assert notes(at(make, "etris", gpu | {"threads": 8}), at(make, "snf", gpu | {"threads": 4})) == []


def test_an_own_method_that_was_edited_between_seeds(make: Make) -> None:
    records = [at(make, "snf", H100 | {"method_code": str(seed)}, seed) for seed in range(2)]
    assert notes(*records) == ["The module of the method changed between records: SNF."]
    assert notes(records[0], at(make, "etris", H100 | {"method_code": "another method's"})) == []


@pytest.mark.parametrize(
    "elsewhere", [{"device": "NVIDIA A100"}, {"neighbours": 2}, {"threads": 4}], ids=lambda e: next(iter(e))
)
def test_cost_is_compared_where_all_else_is_the_same(elsewhere: dict[str, Any], make: Make, tmp_path: Any) -> None:
    """The usual place is that of most records; a method measured elsewhere keeps its score and has no cost."""
    here: dict[str, Any] = {"device": "NVIDIA H100", "threads": 8, "neighbours": 1}
    store = Store(tmp_path)
    records = [
        save(store, make, method, "refcoco", fields={"environment": here | (elsewhere if method == "snf" else {})})
        for method in ("etris", "snf", "barleria")
    ]
    found = costs(group(records)[0])
    frame = found.frame.set_index("label")
    for cost in ("memory", "training", "inference"):
        assert frame[cost].notna().to_dict() == {"SNF": False, "ETRIS": True, "BarLeRIa": True}
    assert frame["iou"].notna().all()
    assert any("SNF: memory and throughput were measured on another machine" in reason for reason in found.absent)
