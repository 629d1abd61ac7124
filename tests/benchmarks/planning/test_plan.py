"""Estimates from records against formulas written out, and the plan made of them."""

from pathlib import Path
from typing import Any

import pytest

from barbench.benchmarks.execution.host.environment import device_name
from barbench.benchmarks.job import Job
from barbench.benchmarks.planning.estimate import Size, estimate
from barbench.benchmarks.planning.plan import make_plan
from barbench.results.record import EpochLog, Profile, Record, Scores, SplitResult
from barbench.results.store import Store

SIZE = Size(references=100, expressions=40)


def done(job: Job, step: float, evaluating: float = 6.0, peak: int = 10**9, scoring: int | None = None) -> Record:
    """A record of 30 expressions whose steps took `step` seconds."""
    scores = Scores(miou=0.5, oiou=0.5, p50=0, p60=0, p70=0, p80=0, p90=0, n=30)
    fields: dict[str, Any] = {
        "flops_forward": 10**9,
        "saved_bytes": 1,
        "saved_bytes_batch": 8,
        "peak_memory_bytes": peak,
        "peak_memory_kind": "process RSS",
        "evaluation_memory_bytes": scoring,
        "train_images_per_s": 1.0,
        "infer_images_per_s": 1.0,
        "batch": 16,
        "device": "cpu",
    }
    return Record(
        id=job.cell.id(),
        cell=job.cell,
        title="",
        composition=(),
        ledger={},
        status="done",
        splits={"val": SplitResult(scores=scores, column="val(g)", images=1, references=1)},
        profile=Profile(**fields),
        environment={"device": device_name("cpu"), "threads": 1},
        timings={"total": 20.0, "training": 10.0, "evaluating": evaluating},
        history=(EpochLog(epoch=1, loss=1.0, lr=0.1, seconds=7 * step, steps=7),),
    )


def seeded(job: Job, seed: int) -> Job:
    return job.model_copy(update={"cell": job.cell.model_copy(update={"seed": seed})})


def test_records_of_the_method_tell(make_jobs, tmp_path: Path) -> None:
    [job] = make_jobs(tmp_path, epochs=3)
    records = [done(seeded(job, seed), step) for seed, step in ((1, 0.5), (2, 2.0), (3, 0.7))]
    steps = 3 * (100 // 16)
    found = estimate(job, SIZE, records)
    assert found is not None
    assert found.seconds == pytest.approx((20 - 10 - 6) + steps * 0.7 + 40 * 6.0 / 30)
    assert found.bytes == 1e9
    assert found.source == "3 records of this method"


def test_the_plan_states_the_memory_of_the_evaluation(make_jobs, tmp_path: Path) -> None:
    """Which may be above that of the training; records of before it was measured say nothing of it."""
    [job], [other] = make_jobs(tmp_path, "etris"), make_jobs(tmp_path, "snf")
    store = Store(tmp_path)
    store.save(done(seeded(job, 1), 0.5, peak=10**9, scoring=3 * 10**9))
    store.save(done(seeded(other, 1), 0.5, peak=2 * 10**9))
    plan = make_plan([job, other], store)
    rows = [(row["memory"], row["memory in evaluation"]) for row in plan.rows()]
    assert rows == [("1.0 GB", "3.0 GB"), ("2.0 GB", "unknown")]
    assert plan.summary().endswith("up to 3.0 GB of memory.")


@pytest.mark.parametrize("change", ["threads", "batch", "precision", "failed"])
def test_records_of_other_conditions_tell_nothing(make_jobs, tmp_path: Path, change: str) -> None:
    [job] = make_jobs(tmp_path)
    record = done(job, 0.5)
    cell = {
        "batch": {"recipe": {**job.cell.recipe, "batch": 8}},
        "precision": {"precision": "bf16"},
    }.get(change, {})
    fields: dict[str, Any] = {"cell": job.cell.model_copy(update=cell)}
    fields |= {"environment": {"device": device_name("cpu"), "threads": 2}} if change == "threads" else {}
    fields |= {"status": "failed"} if change == "failed" else {}
    assert estimate(job, SIZE, [record]) is not None
    assert estimate(job, SIZE, [record.model_copy(update=fields)]) is None


def test_records_of_other_methods_tell_nothing(make_jobs, tmp_path: Path) -> None:
    [job], [other] = make_jobs(tmp_path, "etris"), make_jobs(tmp_path, "snf")
    assert estimate(job, SIZE, []) is None
    assert estimate(job, SIZE, [done(other, 0.4)]) is None
    assert estimate(job, SIZE, [done(other, 0.4), done(seeded(job, 1), 0.4)]) is not None


def test_what_no_record_tells_of_is_unknown(make_jobs, tmp_path: Path) -> None:
    [job], [other] = make_jobs(tmp_path, "etris"), make_jobs(tmp_path, "snf")
    store = Store(tmp_path)
    plan = make_plan([job, other], store)
    assert [(row["time"], row["memory"], row["estimated from"]) for row in plan.rows()] == [
        ("unknown", "unknown", "")
    ] * 2
    assert plan.forecast == {}
    assert plan.summary().startswith("2 cells: 0 done, 2 to run; time and memory unknown")
    store.save(done(seeded(other, 1), 0.5))
    plan = make_plan([job, other], store)
    assert plan.forecast.keys() == {other.cell.id()}
    assert [row["time"] == "unknown" for row in plan.rows()] == [True, False]
    assert plan.summary().endswith("without the 1 that no record tells of.")


def test_the_plan_says_what_is_done_and_adds_up_the_rest(make_jobs, tmp_path: Path) -> None:
    [job] = make_jobs(tmp_path)
    finished, again, fresh = (seeded(job, seed) for seed in (1, 2, 3))
    store = Store(tmp_path)
    store.save(done(finished, 0.5))
    store.save(again.failure("out-of-memory", "too large"))
    fresh.checkpoint.parent.mkdir(parents=True)
    fresh.checkpoint.write_bytes(b"")
    plan = make_plan([job, finished, again, fresh], store)
    assert [cell.state for cell in plan.cells] == [
        *("to run", "done", "out-of-memory before, runs again", "interrupted, will continue")
    ]
    assert plan.forecast.keys() == {j.cell.id() for j in (job, again, fresh)}
    assert len(set(plan.forecast.values())) == 1
    [seconds, *_] = plan.forecast.values()
    minutes, rest = divmod(round(3 * seconds), 60)
    assert plan.summary().startswith(f"4 cells: 1 done, 3 to run, about {minutes}:{rest:02} here (")
    assert [row["time"] for row in plan.rows()][1] == ""
    assert make_plan([finished], store).summary() == "1 cell: 1 done, 0 to run."
