"""Panels of a trained cell: masks made again, checked against its record."""

from collections.abc import Callable
from pathlib import Path
from shutil import copytree
from typing import Any

import numpy as np
import pytest

from barbench.benchmarks.panel_choice import PanelRequest, _wanted, choose
from barbench.benchmarks.panels import MadePanels, make_panels
from barbench.errors import UnknownName, UsageError
from barbench.results.record import Record
from barbench.results.store import Store
from tests.results.cells import put_cell

Ask = Callable[..., PanelRequest]


@pytest.fixture
def request_for(shapes_root: Path, backbone_folder: Path) -> Ask:
    def make(**changes: Any) -> PanelRequest:
        fields: dict[str, Any] = {
            "methods": "etris", "dataset": "refcocog-g", "picks": ["disagree"], "count": 3,
            "backbone": str(backbone_folder), "data": str(shapes_root),
        }  # fmt: skip
        return PanelRequest.of(fields, **changes)

    return make


def panels_of(store: Store, request: PanelRequest) -> MadePanels:
    return make_panels(store, choose(store, request), "cpu", lambda done, total: None)


def test_the_masks_are_those_of_the_record(finished: tuple[Store, Record], request_for: Ask) -> None:
    store, record = finished
    made = panels_of(store, request_for(picks=["succeed", "random"]))
    assert made.notes == []
    assert [panel.pick for panel in made.panels] == ["succeed"] * 3 + ["random"] * 3
    columns = store.expressions(record.cell)
    iou = columns["val/intersection"] / np.maximum(columns["val/union"], 1)
    by_id = dict(zip(columns["val/sent_id"].tolist(), iou.tolist(), strict=True))
    for panel in made.panels:
        (overlay,) = panel.overlays
        assert overlay.iou == pytest.approx(by_id[int(panel.name.removeprefix("sentence-"))], abs=0.01)
        assert overlay.iou == pytest.approx((overlay.mask & panel.truth).sum() / (overlay.mask | panel.truth).sum())
        assert panel.image.shape[:2] == panel.truth.shape == overlay.mask.shape
        assert panel.title.startswith("G-Ref (google) val, image")
    best = [p.overlays[0].iou for p in made.panels[:3]]
    assert best == sorted(best, reverse=True)
    assert best[0] == pytest.approx(iou.max(), abs=0.01)
    assert best[0] > 0


def test_a_mask_that_is_not_the_records_is_told(
    finished: tuple[Store, Record], request_for: Ask, tmp_path: Path
) -> None:
    store, record = finished
    other = Store(tmp_path)
    copytree(store.folder, tmp_path, dirs_exist_ok=True)
    columns = store.expressions(record.cell)
    other.save(record, columns | {"val/intersection": columns["val/union"]})
    made = panels_of(other, request_for(count=1))
    assert len(made.notes) == 1
    assert "ETRIS, sentence" in made.notes[0]
    assert "1.000 in the record" in made.notes[0]


def test_sentences_by_id(finished: tuple[Store, Record], request_for: Ask) -> None:
    store, record = finished
    ids = store.expressions(record.cell)["val/sent_id"][[3, 0]].tolist()
    made = panels_of(store, request_for(sentences=ids))
    assert [(panel.name, panel.pick) for panel in made.panels] == [(f"sentence-{i}", "chosen") for i in ids]
    with pytest.raises(UsageError, match="val has no sentence 999999"):
        panels_of(store, request_for(sentences=[*ids, 999999]))


def test_mistakes_are_explained(finished: tuple[Store, Record], request_for: Ask, tmp_path: Path) -> None:
    store, _ = finished
    for changes, says in (
        ({"picks": ["best"]}, "unknown pick 'best'"),
        ({"eval_split": "vall"}, "unknown evaluation split 'vall'. Did you mean val"),
        ({"methods": "snf"}, "unknown cell 'snf'"),
        ({"methods": ","}, "no method was named"),
        ({"dataset": "refcoco"}, "no finished cell of 'etris' with dataset refcoco"),
        ({"seed": 5}, "no such seed in common"),
        ({"data": "shapes"}, "say where its data are with --data ROOT"),
    ):
        with pytest.raises((UsageError, UnknownName)) as error:
            panels_of(store, request_for(**changes))
        assert says in str(error.value)
    with pytest.raises(UsageError, match="no finished cell of the paper's methods"):
        panels_of(Store(tmp_path), request_for(methods="all"))


def test_the_two_ends_do_not_make_a_disagreement(tmp_path: Path) -> None:
    """Tuning nothing is at 0 on the first expression; the methods between the ends disagree on the last one."""
    names = ("head-only", "etris", "snf", "full")
    records = [put_cell(Store(tmp_path), name, title=name) for name in names]
    ious = {"head-only": (0, 50, 50), "etris": (90, 50, 20), "snf": (90, 55, 60), "full": (90, 50, 50)}
    tables = []
    for values in ious.values():
        columns = {"intersection": values, "union": (100, 100, 100), "image_id": (1, 2, 3), "sent_id": (1, 2, 3)}
        tables.append({name: np.array(column) for name, column in columns.items()})
    request = PanelRequest(methods=("all",), picks=("disagree",), count=1)
    assert _wanted(request, records, tables, "val") == [("disagree", 2)]
    # Of the two ends alone, or of one beside a single method, the difference is all there is.
    assert _wanted(request, records[::3], tables[::3], "val") == [("disagree", 0)]
    assert _wanted(request, records[:2], tables[:2], "val") == [("disagree", 0)]
    failing = PanelRequest(methods=("all",), picks=("fail",), count=1)
    assert _wanted(failing, records, tables, "val") == [("fail", 1)]
