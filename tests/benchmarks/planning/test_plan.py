"""Estimates against formulas written out, and the plan made of them."""

from pathlib import Path
from typing import Any

import pytest
import torch

from barbench.benchmarks.execution.environment import device_name
from barbench.benchmarks.job import Job
from barbench.benchmarks.planning import cost as cost_module
from barbench.benchmarks.planning.cost import cost, matrix_rate
from barbench.benchmarks.planning.estimate import EFFICIENCY, PASSES, START, Size, estimate
from barbench.benchmarks.planning.plan import make_plan
from barbench.engine import profile
from barbench.methods.build import build_segmenter
from barbench.methods.resolve import resolve
from barbench.models.segmenter import Segmenter
from barbench.models.towers.load import load_backbone
from barbench.results.record import EpochLog, Profile, Record, Scores, SplitResult
from barbench.results.store import Store

SIZE = Size(references=100, expressions=40)


def done(job: Job, step: float, evaluating: float = 6.0, peak: int = 10**9, flops: int = 10**9) -> Record:
    """A record of 30 expressions whose steps took `step` seconds."""
    scores = Scores(miou=0.5, oiou=0.5, p50=0, p60=0, p70=0, p80=0, p90=0, n=30)
    fields: dict[str, Any] = {
        "flops_forward": flops,
        "saved_bytes": 1,
        "saved_bytes_batch": 8,
        "peak_memory_bytes": peak,
        "peak_memory_kind": "process RSS",
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
    assert found.seconds == pytest.approx((20 - 10 - 6) + steps * 0.7 + 40 * 6.0 / 30)
    assert found.bytes == 1e9
    assert found.source == "3 records of this method"


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
    assert "records" not in estimate(job, SIZE, [record.model_copy(update=fields)]).source


def test_other_methods_are_scaled_by_flops(make_jobs, tmp_path: Path) -> None:
    [job], [other] = make_jobs(tmp_path, "etris"), make_jobs(tmp_path, "snf")
    record = done(other, 0.4, flops=cost(other).flops)
    ratio = cost(job).flops / cost(other).flops
    assert ratio != 1
    found = estimate(job, SIZE, [record])
    assert found.seconds == pytest.approx(4 + ratio * (6 * 0.4 + 40 * 0.2))
    assert "other methods" in found.source


def test_without_records_flops_over_the_rate_of_products(
    make_jobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [job] = make_jobs(tmp_path, "etris", epochs=2)
    monkeypatch.setattr("barbench.benchmarks.planning.estimate.matrix_rate", lambda *_: 1e6)
    image = cost(job).flops / (EFFICIENCY * 1e6)
    found = estimate(job, SIZE, [])
    assert found.seconds == pytest.approx(START + 2 * 6 * PASSES * 16 * image + 40 * image)


@pytest.mark.parametrize("method", ["head-only", "etris", "barleria"])
def test_cost_without_computing_is_the_cost(make_jobs, tmp_path: Path, method: str) -> None:
    """FLOPs as counted on a real model; kept bytes nearly so: attention is another kernel on the meta device."""
    [job] = make_jobs(tmp_path, method)
    backbone = load_backbone(job.backbone, "random", job.cell.image_size)
    segmenter = build_segmenter(resolve(method)[0], backbone)
    batch = profile.example_batch(segmenter, backbone.image_size, 17, 2)
    found = cost(job)
    assert found.flops == profile.flops_forward(segmenter, *batch[:2])
    assert 0.8 < found.saved / (profile.saved_bytes(segmenter, *batch) / 2) < 1.5
    assert found.tuned == sum(p.numel() for p in segmenter.parameters() if p.requires_grad)
    assert found.frozen == sum(p.numel() for p in segmenter.parameters() if not p.requires_grad)


def test_the_rate_counts_two_operations_a_product(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter(range(1000))
    monkeypatch.setattr(cost_module.time, "perf_counter", lambda: 0.25 * next(ticks))
    threads = torch.get_num_threads()
    assert matrix_rate.__wrapped__("cpu", "fp32", threads) == 2 * 2048 * 768 * 3072 / 0.25


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
        *("to run", "done", "out-of-memory before, runs again", "interrupted, goes on")
    ]
    assert plan.forecast.keys() == {j.cell.id() for j in (job, again, fresh)}
    assert len(set(plan.forecast.values())) == 1
    [seconds, *_] = plan.forecast.values()
    minutes, rest = divmod(round(3 * seconds), 60)
    assert plan.summary().startswith(f"4 cells: 1 done, 3 to run, about {minutes}:{rest:02} here (")
    assert [row["time"] for row in plan.rows()][1] == ""
    assert make_plan([finished], store).summary() == "1 cell: 1 done, 0 to run."


def test_a_plan_walks_each_model_once(make_jobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Walking is most of what a plan without records costs."""
    [job], walks = make_jobs(tmp_path, "etris"), []
    walk = Segmenter.forward
    monkeypatch.setattr(Segmenter, "forward", lambda *given: walks.append(1) or walk(*given))
    cost_module._cost.cache_clear()
    assert [cost(seeded(job, seed)).flops for seed in (1, 2)] == [cost(job).flops] * 2
    assert len(walks) == 1
