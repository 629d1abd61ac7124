"""Panels of a trained cell: masks made again, checked against its record."""

from collections.abc import Callable
from pathlib import Path
from shutil import copytree
from typing import Any

import numpy as np
import pytest

from barbench.benchmarks.panel_choice import PanelRequest, choose
from barbench.benchmarks.panels import MadePanels, make_panels
from barbench.errors import UnknownName, UsageError
from barbench.results.record import Record
from barbench.results.store import Store

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
