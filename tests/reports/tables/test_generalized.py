"""gRefCOCO in the tables: gIoU never beside mean IoU, its two accuracies, and what the notes say."""

from pathlib import Path

import numpy as np

from barbench.reports.tables.build import build
from barbench.reports.tables.grouping import group
from barbench.results.compare import Wanted, compare
from barbench.results.record import Record, Scores
from barbench.results.resampled import ResampledScores
from barbench.results.store import Store
from tests.reports.conftest import Make

COUNTS = {  # of four images with two expressions each; every second one means nothing
    "intersection": np.array([60, 0, 80, 0, 20, 0, 90, 0]),
    "union": np.array([100, 0, 100, 40, 100, 0, 100, 0]),
    "control_intersection": np.tile([5, -1], 4),
    "control_union": np.tile([100, -1], 4),
    "area": np.tile([80, 0], 4),
    "targets": np.tile([1, 0], 4),
    "image_id": np.arange(8) // 2,
    **{name: np.arange(8) for name in ("sent_id", "ref_id", "ann_id", "words", "height", "width", "kind")},
}


def saved(store: Store, make: Make, method: str, better: int = 0) -> Record:
    """gIoU = (0.6 + 1 + 0.8 + 0 + 0.2 + 1 + 0.9 + 1) / 8 = 68.75 %."""
    plain = make(method, "grefcoco", {"val": 50}, control={"val": 7})
    counts = COUNTS | {"intersection": COUNTS["intersection"] + better * (COUNTS["targets"] > 0)}
    ratios = np.where(
        (counts["targets"] == 0) & (counts["union"] == 0), 1, counts["intersection"] / counts["union"].clip(1)
    )
    scores = Scores(
        giou=ratios.mean(), ciou=250 / 440, p50=0.75, p60=0.5, p70=0.5, p80=0.25, p90=0, n=8, n_acc=0.75, t_acc=1
    )
    split = plain.splits["val"].model_copy(update={"scores": scores})
    record = plain.model_copy(update={"splits": {"val": split}})
    store.save(record, {f"val/{name}": column for name, column in counts.items()})
    return record


def test_a_table_of_its_own_with_the_accuracies(tmp_path: Path, make: Make) -> None:
    store = Store(tmp_path)
    records = [saved(store, make, "etris"), make("etris", "refcoco", {"val": 61.0, "testA": 62.0, "testB": 63.0})]
    joint, general = build("5", group(records), ResampledScores(store))
    assert "published and measured" in joint.title
    assert not any(header.group == "gRefCOCO" for header in joint.headers)
    columns = [header.name for header in general.headers if header.group == "gRefCOCO"]
    assert columns == ["val", "testA", "testB"] or columns == ["val"]
    at = [header.name for header in general.headers if header.group == "gRefCOCO"].index("val") + next(
        i for i, header in enumerate(general.headers) if header.group == "gRefCOCO"
    )
    values = {section.heading: section.rows[0][at].value for section in general.sections}
    assert values == {
        "": 68.8,
        "Expressions swapped (lower is better)": 7.0,
        "N-acc: nothing is meant, nothing is found": 75.0,
        "T-acc: something is meant, something is found": 100.0,
    }
    assert any("gIoU" in note and "cIoU" in note for note in general.notes)
    assert not any("gIoU" in note for note in joint.notes)


def test_intervals_and_comparisons_are_of_giou(tmp_path: Path, make: Make) -> None:
    store = Store(tmp_path)
    saved(store, make, "etris")
    saved(store, make, "snf", better=8)
    found = compare(store, "snf", "etris", Wanted(), resamples=200)
    assert [row.metric for row in found.rows] == ["gIoU", "cIoU"]
    assert [round(row.difference, 2) for row in found.rows] == [round(100 * 4 * 0.08 / 8, 2), round(100 * 32 / 440, 2)]
    assert round(found.rows[0].second, 2) == 68.75
