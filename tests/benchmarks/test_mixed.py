"""A mixed cell from start to end: the record says what trained it and whose splits were scored."""

from pathlib import Path

from barbench.benchmarks.execution.run import run_jobs
from barbench.benchmarks.panel_choice import PanelRequest, choose
from barbench.benchmarks.panels import make_panels
from barbench.reports.tables.build import build_measured
from barbench.reports.tables.grouping import group
from barbench.results.record import TrainingSet
from barbench.results.store import Store
from barbench.spec.recipe import parse_recipe
from tests.benchmarks.conftest import Told
from tests.benchmarks.small_matrix import small_cells
from tests.datasets.overlapping import write_overlapping


def test_clean_and_leaked_cells(tmp_path: Path, backbone_folder: Path) -> None:
    root = write_overlapping(tmp_path / "data")
    recipe = parse_recipe("test", {"epochs": 1, "batch": 4, "lr": 1e-3})
    jobs = small_cells(root, backbone_folder, recipe, tmp_path / "out", datasets=("mixed", "mixed-leaked"))
    told = Told()
    clean, leaked = run_jobs(jobs, tmp_path / "out", told)
    assert (clean.status, leaked.status) == ("done", "done"), told.notes
    assert clean.training == TrainingSet(references=8, images=3, mixing="clean", removed_references=7, removed_images=4)
    assert leaked.training == TrainingSet(references=15, images=7, mixing="leaked")
    assert any(note.endswith("they are in evaluation splits: 4 images with 7 references") for note in told.notes)
    assert [c.steps for c in clean.history] == [8 // 4]
    assert {k for k, s in leaked.splits.items() if s.leaks} == {"refcoco val", "refcoco+ val", "refcocog-u val"}
    assert not any(s.leaks or s.shared_images for s in clean.splits.values())
    assert {clean.dataset_of(key) for key in clean.splits} == {"refcoco", "refcoco+", "refcocog-u"}
    assert clean.splits["refcoco testB"].scores.n == 4  # two references of two sentences
    arrays = Store(tmp_path / "out").expressions(clean.cell)
    assert {name.split("/")[0] for name in arrays} == {*clean.splits, "rivals"}
    [table] = build_measured("5", group([clean, leaked]))
    assert [row[0].text for row in table.sections[0].rows] == ["Head only-Mixed", "Head only-Mixed (leaked)"]
    request = PanelRequest(
        methods=("head-only",),
        dataset="mixed",
        eval_split="refcocog-u test",
        picks=("random",),
        count=2,
        backbone=str(backbone_folder),
        data=str(root),
    )
    store = Store(tmp_path / "out")
    panels, notes = make_panels(store, choose(store, request), "cpu", lambda done, total: None)
    assert {panel.title.partition(",")[0] for panel in panels} == {"G-Ref (umd) test"}
    assert notes == []
