"""Records in the form of every_eval_ever 0.3.0, one JSON file per cell: `barbench export --format every_eval_ever`.

The paths are those of its data store: `data/<data set>/<organization>/<model>/<id>.json`. Ids and times come from the
record, so that the same record gives the same bytes. Scores are fractions, intervals are clustered by image.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from barbench.metrics import iou, predicted_pixels
from barbench.results.exchange import ExchangedScore, as_name, exchanged_scores, finished_at
from barbench.results.expressions import Columns, of_split
from barbench.results.interval import CONFIDENCE
from barbench.results.record import Record
from barbench.results.store import Store

SCHEMA: Final = "0.3.0"
_CORRECT: Final = 0.5
"""An expression counts as found above this IoU."""

Sentences = Mapping[str, Mapping[int, str]]
"""By split as the record names it: the words of each sentence, by its id."""


def files(
    store: Store, record: Record, organization: str, sentences: Sentences | None = None
) -> Iterator[tuple[str, str]]:
    """The files of one finished cell, each with its path below the data store's root and its text. `organization` ran
    the evaluation and owns the model; with `sentences` there is a file of every expression, too."""
    scores = exchanged_scores(store, record)
    aggregate = _evaluation(record, scores, organization, finished_at(store, record))
    path = _path(record, organization)
    # A line per expression, whose file the aggregate names with its hash.
    if sentences is not None:
        by_name = {(score.key, score.name): score for score in scores}
        rows: list[str] = []
        for key in record.split_names():
            ranked = by_name[key, record.splits[key].scores.mean_name]
            columns = of_split(store, record, key)
            rows += _instances(record, ranked, columns, sentences[key], organization)
        text = "".join(rows)
        aggregate["detailed_evaluation_results"] = {
            "format": "jsonl",
            "file_path": f"{path}_samples.jsonl",
            "hash_algorithm": "sha256",
            "checksum": hashlib.sha256(text.encode()).hexdigest(),
            "total_rows": len(rows),
        }
        yield f"{path}_samples.jsonl", text
    yield f"{path}.json", json.dumps(aggregate, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _evaluation(record: Record, scores: Sequence[ExchangedScore], organization: str, ended: int) -> dict[str, Any]:
    packages = record.environment.get("packages")
    version = packages.get("barbench") if isinstance(packages, dict) else None
    return {
        "schema_version": SCHEMA,
        "evaluation_id": _evaluation_id(record),
        "retrieved_timestamp": str(ended),
        "source_metadata": {
            "source_type": "evaluation_run",
            "source_organization_name": organization,
            "evaluator_relationship": "first_party",
        },
        "eval_library": {"name": "barbench", "version": str(version or "unknown")},
        "model_info": {
            "name": f"{record.title} on {record.cell.backbone}",
            "id": _model_id(record, organization),
            "additional_details": _details(record),
        },
        "evaluation_results": [_result(record, score) for score in scores],
    }


def _instances(
    record: Record, ranked: ExchangedScore, columns: Columns, sentences: Mapping[int, str], organization: str
) -> Iterator[str]:
    """A line for each expression of a split, scored by the metric that ranks methods."""
    # What is predicted is said by its size: the masks are elsewhere.
    ratios = iou(columns["intersection"], columns["union"], columns.get("targets"))
    predicted = predicted_pixels(columns)
    for row, sent_id in enumerate(columns["sent_id"].tolist()):
        answer = f"mask of {int(predicted[row])} pixels"
        ratio = float(ratios[row])
        attribution = {
            "turn_idx": 0,
            "source": "output.raw",
            "extracted_value": answer,
            "extraction_method": "pixels above the threshold",
            "is_terminal": True,
        }
        instance = {
            "schema_version": SCHEMA,
            "evaluation_id": _evaluation_id(record),
            "model_id": _model_id(record, organization),
            "evaluation_name": _evaluation_name(ranked),
            "evaluation_result_id": _result_id(record, ranked),
            "sample_id": f"sent:{sent_id}",
            "interaction_type": "single_turn",
            "input": {"raw": sentences[sent_id], "reference": [f"ann:{int(columns['ann_id'][row])}"]},
            "output": {"raw": [answer]},
            "answer_attribution": [attribution],
            "evaluation": {"score": ratio, "is_correct": ratio > _CORRECT},
        }
        yield json.dumps(instance, ensure_ascii=False, allow_nan=False) + "\n"


def _result(record: Record, score: ExchangedScore) -> dict[str, Any]:
    uncertainty: dict[str, Any] = {"num_samples": score.n}
    if score.interval.known:
        uncertainty["confidence_interval"] = {
            "lower": score.interval.low,
            "upper": score.interval.high,
            "confidence_level": CONFIDENCE,
            "method": "clustered by image",
        }
    return {
        "evaluation_name": _evaluation_name(score),
        "evaluation_result_id": _result_id(record, score),
        "source_data": {
            "dataset_name": score.dataset,
            "source_type": "other",
            "additional_details": {"split": score.split},
        },
        "metric_config": {
            "metric_id": score.name,
            "metric_name": score.metric.label,
            "metric_unit": "proportion",
            "lower_is_better": score.metric.better == "low",
            "score_type": "continuous",
            "min_score": 0.0,
            "max_score": 1.0,
        },
        "score_details": {"score": score.value, "uncertainty": uncertainty},
    }


def _details(record: Record) -> dict[str, str]:
    """What the schema has no field for; it takes strings alone."""
    cell = record.cell
    details = {
        "deployment_type": "self_deployed",
        "model_availability": "unknown",
        "method": cell.method,
        "backbone": cell.backbone,
        "weights": cell.weights,
        # CLIP's own weights were trained on pairs of images and texts.
        "backbone_saw_coco": "none" if cell.weights == "openai" else "unknown",
        "trained_on": cell.dataset,
        "data": cell.data.kind,
        "recipe": str(cell.recipe.get("name")),
        "seed": str(cell.seed),
    }
    if cell.options:
        details["options"] = json.dumps(cell.options, sort_keys=True)
    for group, count in record.ledger.items():
        details[f"parameters_{group}"] = str(count)
    return details


def _evaluation_id(record: Record) -> str:
    cell = record.cell
    return f"{cell.dataset}/{cell.method}--{cell.backbone}/{record.id}"


def _model_id(record: Record, organization: str) -> str:
    return f"{as_name(organization)}/{_model(record)}"


def _model(record: Record) -> str:
    return as_name(f"{record.cell.method}-{record.cell.backbone}")


def _evaluation_name(score: ExchangedScore) -> str:
    return f"{score.title}, {score.metric.label}"


def _result_id(record: Record, score: ExchangedScore) -> str:
    return f"{score.dataset}/{score.split}/{score.name}/seed{record.cell.seed}"


def _path(record: Record, organization: str) -> str:
    """Without suffix; the last part has the form of a random UUID and is a hash of the evaluation's id."""
    digest = hashlib.sha256(_evaluation_id(record).encode()).digest()
    number = UUID(bytes=digest[:16], version=4)
    return f"data/{as_name(record.cell.dataset)}/{as_name(organization)}/{_model(record)}/{number}"
