"""Records in the form of the Hub's `.eval_results`, one YAML file per cell: `barbench export --format eval_results`.

The Hub shows such a file where the data set's repository is a registered benchmark. None of RefCOCO is known: NOTE says
so. The scale of a value is not defined there; it is the percent that barbench's tables print, and the notes say that.
"""

from datetime import UTC, datetime
from typing import Any, Final

import yaml

from barbench.results.exchange import ExchangedScore, as_name, exchanged_scores, finished_at
from barbench.results.record import Record
from barbench.results.store import Store

NOTE: Final = (
    "the Hub shows these files only where the data set's repository is a registered benchmark, and none of RefCOCO is "
    "known; the scale of a value is not defined there, these are percent"
)


def file(store: Store, record: Record, organization: str, source: str | None) -> tuple[str, str]:
    """The file of one finished cell: its path below the output folder, where the cell's folder stands for the model's
    repository, and its text. The data set is in a repository of `organization`; `source` is the record's address, which
    is left out where it is None."""
    entries = [_entry(store, record, score, organization, source) for score in exchanged_scores(store, record)]
    text = yaml.safe_dump(entries, sort_keys=False, allow_unicode=True, width=1000)
    return f"{record.cell.stem()}/.eval_results/{_repository(record.cell.dataset)}.yaml", text


def _entry(
    store: Store, record: Record, score: ExchangedScore, organization: str, source: str | None
) -> dict[str, Any]:
    ended = datetime.fromtimestamp(finished_at(store, record), UTC)
    entry: dict[str, Any] = {
        "dataset": {
            "id": f"{as_name(organization)}/{_repository(score.dataset)}",
            "task_id": f"{score.split}_{score.name}",
        },
        "value": round(100 * score.value, 2),
        "date": ended.date().isoformat(),
    }
    if source is not None:
        entry["source"] = {"url": source, "name": "barbench record"}
    entry["evaluation_framework"] = "barbench"
    entry["notes"] = _notes(record, score)
    return entry


def _notes(record: Record, score: ExchangedScore) -> str:
    parts = [f"{score.metric.label} in percent", f"{score.n} expressions", f"seed {record.cell.seed}"]
    # Records of before the split of the count have the adapter group alone.
    group = "own" if "own" in record.ledger else "adapter"
    if group in record.ledger:
        parts.append(f"{record.ledger[group]} tuned ({group})")
    if "head" in record.ledger:
        parts.append(f"head {record.ledger['head']}")
    return ", ".join(parts)


def _repository(dataset: str) -> str:
    """Names of repositories have no plus sign."""
    return as_name(dataset.replace("+", "-plus"))
