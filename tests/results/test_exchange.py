"""Records in the forms that others exchange: valid by their own schema, equal to the record, the same bytes again."""

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from huggingface_hub import parse_eval_result_entries
from jsonschema import Draft7Validator

from barbench.errors import UsageError
from barbench.metrics import METRICS, summarize_columns
from barbench.results import eval_results, every_eval_ever
from barbench.results.exchange import exchanged_records, exchanged_scores
from barbench.results.record import Record, SplitResult
from barbench.results.store import Store
from tests.results.conftest import Put

SCHEMAS = Path(__file__).parent / "every_eval_ever"
LEDGER = {"adapter": 100, "own": 90, "norms": 10, "biases": 0, "weights": 0, "head": 22, "frozen": 1000}
Words = dict[str, dict[int, str]]


def validator(name: str) -> Draft7Validator:
    schema = json.loads((SCHEMAS / f"{name}.schema.json").read_text("utf-8"))
    Draft7Validator.check_schema(schema)
    assert schema["version"] == every_eval_ever.SCHEMA
    return Draft7Validator(schema)


def put_real(store: Store, put: Put, targets: bool = False, **fields: Any) -> Record:
    """A cell whose scores are those of its arrays, as in a real one."""
    record = put("etris", **fields)
    arrays = dict(store.expressions(record.cell))
    splits = {}
    for key in record.splits:
        if targets:
            arrays[f"{key}/targets"] = np.arange(36) % 3
        columns = {name.partition("/")[2]: array for name, array in arrays.items() if name.startswith(f"{key}/")}
        splits[key] = SplitResult(scores=summarize_columns(columns), column=key, images=12, references=12)
    environment = {"packages": {"barbench": "9.8.7"}}
    update = {"splits": splits, "ledger": LEDGER, "finished": 1_793_606_400, "environment": environment}
    store.save(record.model_copy(update=update), arrays)
    saved = store.load(record.cell)
    assert saved is not None
    return saved


def words(store: Store, record: Record) -> Words:
    found: Words = {}
    for key in record.splits:
        ids = store.expressions(record.cell)[f"{key}/sent_id"].tolist()
        found[key] = {sent_id: f"thing “{sent_id}”" for sent_id in ids}
    return found


def written(store: Store, record: Record, sentences: Words | None = None) -> dict[str, str]:
    return dict(every_eval_ever.files(store, record, "Example Lab", sentences))


def aggregate(files: dict[str, str]) -> dict[str, Any]:
    [text] = [text for name, text in files.items() if name.endswith(".json")]
    loaded: dict[str, Any] = json.loads(text, parse_constant=pytest.fail)
    return loaded


@pytest.mark.parametrize("targets", [False, True])
def test_a_cell_is_valid_by_the_schema(targets: bool, store: Store, put: Put) -> None:
    record = put_real(store, put, targets, options={"bridge.width": 64})
    found = aggregate(written(store, record))
    check = validator("eval")
    assert list(check.iter_errors(found)) == []
    # The schema is one that refuses.
    assert not check.is_valid({**found, "scores": []})
    assert not check.is_valid({**found, "model_info": {**found["model_info"], "additional_details": {"seed": 0}}})


def test_every_field_is_the_records(store: Store, put: Put) -> None:
    record = put_real(store, put)
    found = aggregate(written(store, record))
    assert found["evaluation_id"] == f"refcoco+/etris--tiny/{record.id}"
    assert found["retrieved_timestamp"] == "1793606400"
    assert found["source_metadata"]["source_organization_name"] == "Example Lab"
    assert found["eval_library"] == {"name": "barbench", "version": "9.8.7"}
    assert found["model_info"]["name"] == "ETRIS on tiny"
    assert found["model_info"]["id"] == "Example-Lab/etris-tiny"
    details = found["model_info"]["additional_details"]
    assert {name: int(details[f"parameters_{name}"]) for name in LEDGER} == LEDGER
    assert (details["seed"], details["recipe"], details["backbone_saw_coco"]) == ("0", "demo", "unknown")
    shown = {}
    for result in found["evaluation_results"]:
        name = result["metric_config"]["metric_id"]
        shown[result["source_data"]["additional_details"]["split"], name] = result["score_details"]["score"]
        assert result["evaluation_name"].endswith(METRICS[name].label)
        assert result["evaluation_result_id"] == (
            f"refcoco+/{result['source_data']['additional_details']['split']}/{name}/seed0"
        )
        config = result["metric_config"]
        assert (config["min_score"], config["max_score"], config["lower_is_better"]) == (0.0, 1.0, False)
        assert result["score_details"]["uncertainty"]["num_samples"] == 36
    names = ("miou", "oiou", "p50", "p60", "p70", "p80", "p90")
    assert shown == {(key, name): record.splits[key].scores[name] for key in record.splits for name in names}


def test_the_interval_is_the_formula_of_clusters(store: Store, put: Put) -> None:
    record = put_real(store, put)
    arrays = store.expressions(record.cell)
    ratios = arrays["val/intersection"] / arrays["val/union"]
    images = arrays["val/image_id"]
    mean = ratios.mean()
    residuals = np.array([(ratios[images == image] - mean).sum() for image in np.unique(images)])
    error = np.sqrt(12 / 11 * (residuals**2).sum()) / 36
    margin = 2.2009852 * error  # Student's t of a printed table, 11 degrees of freedom
    [score] = [score for score in exchanged_scores(store, record) if (score.key, score.name) == ("val", "miou")]
    assert score.interval.low == pytest.approx(mean - margin, abs=1e-5)
    assert score.interval.high == pytest.approx(mean + margin, abs=1e-5)
    shown = next(
        result["score_details"]["uncertainty"]["confidence_interval"]
        for result in aggregate(written(store, record))["evaluation_results"]
        if result["evaluation_result_id"] == "refcoco+/val/miou/seed0"
    )
    assert (shown["lower"], shown["upper"]) == (score.interval.low, score.interval.high)
    assert (shown["confidence_level"], shown["method"]) == (0.95, "clustered by image")


def test_every_expression_is_valid_and_joins_its_score(store: Store, put: Put) -> None:
    record = put_real(store, put)
    sentences = words(store, record)
    files = written(store, record, sentences)
    found = aggregate(files)
    assert list(validator("eval").iter_errors(found)) == []
    detail = found["detailed_evaluation_results"]
    rows = [json.loads(line, parse_constant=pytest.fail) for line in files[detail["file_path"]].splitlines()]
    assert len(rows) == detail["total_rows"] == 72
    check = validator("instance_level_eval")
    for row in rows:
        assert list(check.iter_errors(row)) == []
        assert (row["evaluation_id"], row["model_id"]) == (found["evaluation_id"], found["model_info"]["id"])
    means = {result["evaluation_result_id"]: result["score_details"]["score"] for result in found["evaluation_results"]}
    for key in record.splits:
        own = [row for row in rows if row["evaluation_result_id"] == f"refcoco+/{key}/miou/seed0"]
        assert np.mean([row["evaluation"]["score"] for row in own]) == pytest.approx(
            means[own[0]["evaluation_result_id"]]
        )
        above = np.mean([row["evaluation"]["is_correct"] for row in own])
        assert above == pytest.approx(record.splits[key].scores["p50"])
        assert [row["input"]["raw"] for row in own] == list(sentences[key].values())
    arrays = store.expressions(record.cell)
    predicted = arrays["val/union"] - arrays["val/area"] + arrays["val/intersection"]
    assert rows[0]["output"]["raw"] == [f"mask of {predicted[0]} pixels"]


def test_files_are_where_the_data_store_wants_them(store: Store, put: Put) -> None:
    record = put_real(store, put)
    pattern = json.loads((SCHEMAS / "eval.schema.json").read_text("utf-8"))
    pattern = pattern["properties"]["detailed_evaluation_results"]["properties"]["file_path"]["pattern"]
    samples, cell = written(store, record, words(store, record))
    assert re.fullmatch(pattern, samples)
    assert samples == cell.removesuffix(".json") + "_samples.jsonl"
    assert cell.startswith("data/refcoco+/Example-Lab/etris-tiny/")
    other = put_real(store, put, seed=1)
    assert set(written(store, other)).isdisjoint(written(store, record))


def test_the_same_record_gives_the_same_bytes(store: Store, put: Put, tmp_path: Path) -> None:
    record = put_real(store, put)
    copied = Store(shutil.copytree(store.folder, tmp_path / "copy", copy_function=shutil.copy))
    for record_file in copied.folder.glob("*.json"):
        os.utime(record_file, (0, 0))
    [again] = copied.all()
    sentences = words(store, record)
    assert written(copied, again, sentences) == written(store, record, sentences)
    assert eval_results.file(copied, again, "lab", None) == eval_results.file(store, record, "lab", None)


def test_an_old_record_has_the_time_of_its_file_and_no_interval_without_arrays(store: Store, put: Put) -> None:
    record = put("snf")
    os.utime(store.path(record.cell), (1_700_000_000, 1_700_000_000))
    store.arrays(record.cell).unlink()
    found = aggregate(written(store, record))
    assert list(validator("eval").iter_errors(found)) == []
    assert found["retrieved_timestamp"] == "1700000000"
    assert found["eval_library"]["version"] == "unknown"
    for result in found["evaluation_results"]:
        assert result["score_details"]["uncertainty"] == {"num_samples": 36}


def test_what_is_left_out(store: Store, put: Put) -> None:
    whole = put("etris")
    put("snf", status="failed")
    put("etris", seed=1, held_out=10)
    part = put("etris", seed=2, subset={"evaluate": 5})
    assert exchanged_records(store.all(), subsets=False) == [whole]
    assert exchanged_records(store.all(), subsets=True) == [whole, part]
    with pytest.raises(UsageError, match="no finished cell"):
        exchanged_records([record for record in store.all() if record not in (whole, part)], subsets=True)
    accuracies = put_real(store, put, targets=True, dataset="grefcoco")
    names = {score.name for score in exchanged_scores(store, accuracies)}
    assert {"n_acc", "t_acc"} <= accuracies.splits["val"].scores.values.keys()
    assert names == {"giou", "ciou", "p50", "p60", "p70", "p80", "p90"}


def test_yaml_is_what_the_hubs_library_reads(store: Store, put: Put) -> None:
    record = put_real(store, put)
    path, text = eval_results.file(store, record, "Example Lab", "https://example.org/record")
    assert path == f"{record.cell.stem()}/.eval_results/refcoco-plus.yaml"
    loaded = yaml.safe_load(text)
    entries = parse_eval_result_entries(loaded)
    assert len(entries) == len(exchanged_scores(store, record)) == 14
    for entry, score, raw in zip(entries, exchanged_scores(store, record), loaded, strict=True):
        assert (entry.dataset_id, entry.task_id) == ("Example-Lab/refcoco-plus", f"{score.split}_{score.name}")
        assert entry.value == pytest.approx(100 * record.splits[score.key].scores[score.name], abs=0.005 + 1e-9)
        assert (entry.date, entry.source_url) == ("2026-11-02", "https://example.org/record")
        assert raw["evaluation_framework"] == "barbench"
        assert entry.notes == f"{score.metric.label} in percent, 36 expressions, seed 0, 90 tuned (own), head 22"
    _, plain = eval_results.file(store, record, "lab", None)
    assert "source" not in plain
