"""The public API: the lines of its docstring as they stand, laziness, and that it computes what a cell computes."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import barbench as bb
from barbench import api
from barbench.benchmarks.execution.run import run_jobs
from barbench.errors import UnknownName, UsageError
from barbench.progress import OnProgress
from barbench.spec.recipe import parse_recipe
from tests.benchmarks.conftest import MakeJobs, Told
from tests.benchmarks.conftest import make_jobs as make_jobs

RECIPE = parse_recipe("test", {"epochs": 2, "batch": 4, "lr": 1e-3})


@pytest.fixture
def data(shapes_root: Path):
    return bb.open_data(shapes_root, "refcoco+")


@pytest.fixture
def model(backbone_folder: Path):
    return bb.build_segmenter("snf", backbone=str(backbone_folder), weights="random")


def loaded_after(code: str) -> set[str]:
    """The modules that a fresh Python has imported after `code`."""
    show = "import sys; print(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", f"{code}\n{show}"], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_barbench_imports_nothing_heavy() -> None:
    assert not loaded_after("import barbench") & {"torch", "pandas", "numpy", "pydantic", "rich", "typer", "matplotlib"}


def test_a_record_is_read_without_torch_and_pandas() -> None:
    loaded = loaded_after("from barbench.results.record import Record\nfrom barbench.results.store import Store")
    assert not loaded & {"torch", "pandas"}


def test_every_public_name_is_documented_and_there() -> None:
    assert len(bb.__all__) == 14
    for name in bb.__all__:
        assert getattr(bb, name).__doc__
    assert bb.__version__
    with pytest.raises(AttributeError, match="no attribute 'evalute'"):
        _ = bb.evalute


@pytest.mark.parametrize(("set_by_user", "expected"), [({}, "20000"), ({"GOMP_SPINCOUNT": "7"}, "7")])
def test_openmp_is_tamed_unless_the_program_has_its_own_setting(
    set_by_user: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    for name, value in set_by_user.items():
        monkeypatch.setenv(name, value)
    code = "import barbench, os; print(os.environ['GOMP_SPINCOUNT'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == expected


def test_a_program_that_has_torch_already_keeps_its_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    code = "import sys; sys.modules['torch'] = sys; import barbench, os; print(os.environ.get('GOMP_SPINCOUNT'))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "None"


def test_steps_can_be_limited_and_need_no_folder(data, model) -> None:
    steps: list[int] = []
    before = {name: p.detach().clone() for name, p in model.tuned_parameters().items()}
    training = bb.fit(model, data, RECIPE, max_steps=3, device="cpu", on_step=lambda log: steps.append(log.step))
    assert len(steps) == 3
    assert training.images_per_second
    assert any(not torch.equal(before[name], p.cpu()) for name, p in model.tuned_parameters().items())


def test_a_training_has_the_kernels_of_a_cell(data, model, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def settle(*arguments: object) -> str:
        asked.extend(arguments)
        return "low_memory kernels are used, since fused ones fail on this card"

    monkeypatch.setattr(api, "settle_kernels", settle)
    with pytest.warns(UserWarning, match="fused ones fail on this card"):
        bb.fit(model, data, RECIPE, max_steps=1, device="cpu")
    assert asked == ["auto", torch.device("cpu"), "fp32"]


def test_a_training_that_is_limited_has_its_history(data, model) -> None:
    steps = len(data.content.train[0].references) // RECIPE.batch
    seen: list[float] = []
    training = bb.fit(model, data, RECIPE, max_steps=steps + 2, device="cpu", on_step=lambda log: seen.append(log.loss))
    assert [(epoch["epoch"], epoch["steps"]) for epoch in training.history] == [(1, steps), (2, 2)]
    assert training.history[1]["loss"] == seen[-1]
    assert sum(epoch["seconds"] for epoch in training.history) <= training.seconds
    assert training.frame["steps"].tolist() == [steps, 2]
    # Every step has its loss: StepLog.loss is the mean of the epoch so far.
    assert training.losses["step"].tolist() == list(range(1, steps + 3))
    assert training.losses["loss"].iloc[:steps].mean() == pytest.approx(training.history[0]["loss"])
    assert training.losses["loss"].iloc[-2:].mean() == pytest.approx(training.history[1]["loss"])
    assert "<table" in training._repr_html_()


def test_two_evaluations_compare(data, model, backbone_folder: Path) -> None:
    first = bb.evaluate(model, data, "val", device="cpu")
    assert first.frame["iou"].mean() == pytest.approx(first.metrics.miou)
    assert first.scores["score"]["mIoU"] == pytest.approx(100 * first.metrics.miou)
    assert "mIoU" in first._repr_html_()
    other = bb.build_segmenter("head-only", backbone=str(backbone_folder), weights="random", seed=1)
    second = bb.evaluate(other, data, "val", device="cpu", threshold=0.5)
    found = bb.compare_evaluations(first, second, ("<b>SNF", "head only"), split="val", resamples=200)
    miou = found.frame.set_index("metric").loc["mIoU"]
    assert miou["difference"] == pytest.approx(100 * (first.metrics.miou - second.metrics.miou))
    assert miou["low"] <= miou["difference"] <= miou["high"]
    assert "with one seed" in found.notes[0]
    shown = found._repr_html_()
    assert "&lt;b&gt;SNF" in shown
    assert "<b>SNF" not in shown
    test = bb.evaluate(model, data, "testA", device="cpu")
    with pytest.raises(UsageError, match="scored different expressions"):
        bb.compare_evaluations(first, test)


class Shown:
    """What bars were told."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, bool, int, int]] = []

    @contextmanager
    def bar(self, what: str, shown: bool = True) -> Iterator[OnProgress]:
        yield lambda done, total: self.calls.append((what, shown, done, total))


def test_progress_is_told(data, model, monkeypatch: pytest.MonkeyPatch) -> None:
    told = Shown()
    monkeypatch.setattr(api, "progress_bar", told.bar)
    bb.fit(model, data, RECIPE, max_steps=3, device="cpu", progress=False)
    assert told.calls == [("training", False, step, 3) for step in (1, 2, 3)]
    told.calls.clear()
    found = bb.evaluate(model, data, "val", device="cpu")
    assert told.calls[-1] == ("evaluating val", True, found.metrics.n, found.metrics.n)


def test_a_matrix_runs_and_its_cells_load(
    shapes_root: Path, backbone_folder: Path, data, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    matrix = {"backbones": str(backbone_folder), "weights": "random", "data": str(shapes_root), "jobs": 1}
    matrix |= {"recipe": "demo", "changes": {"epochs": 1, "batch": 16}, "device": "cpu", "progress": False}
    results = tmp_path / "results"
    frame = bb.run(["head-only"], "refcoco+", results=results, **matrix)
    assert frame["status"].tolist() == ["done"] * 3, frame["reason"].tolist()
    assert set(frame["recipe.epochs"]) == {1}
    assert capfd.readouterr().out == ""
    again = bb.run("head-only", "refcoco+", results=results, **matrix)
    assert again.equals(frame)
    # The model of the cell scores what the record has.
    cell = bb.load_cell(results, "head-only", device="cpu", backbone_folder=backbone_folder)
    found = bb.evaluate(cell.segmenter, data, "val", device="cpu", threshold=cell.recipe.threshold, batch=32)
    assert found.metrics.miou == frame.set_index("split").loc["val", "miou"]
    assert cell.record.curve is not None
    assert len(cell.record.curve.losses) == cell.record.history[0].steps
    with pytest.raises(UsageError, match=r"'head-only' has no cell with seed 7; there are 0"):
        bb.load_cell(results, "head-only", seed=7)
    with pytest.raises(UnknownName, match=r"unknown field of a run 'backbone'. Did you mean backbones"):
        bb.run("head-only", "refcoco+", results=results, backbone="tiny")


def test_a_checkpoint_is_gone_on_from(data, backbone_folder: Path, tmp_path: Path) -> None:
    def trained(*limits: int | None) -> dict[str, torch.Tensor]:
        for limit in limits:
            model = bb.build_segmenter("head-only", backbone=str(backbone_folder), weights="random")
            bb.fit(model, data, RECIPE, max_steps=limit, device="cpu", checkpoint=tmp_path / f"{len(limits)}.pt")
        return dict(model.tuned_parameters())

    whole, broken = trained(None), trained(len(data.content.train[0].references) // RECIPE.batch, None)
    assert all(torch.equal(whole[name], broken[name]) for name in whole)


def test_results_are_readable(data, model) -> None:
    found = bb.evaluate(model, data, "val", device="cpu")
    assert str(found.metrics) == f"{found.metrics}"
    assert f"over {found.metrics.n} expressions" in str(found.metrics)
    assert str(data).startswith("refcoco+ (shapes): ")
    with pytest.raises(UnknownName, match="testB"):
        bb.evaluate(model, data, "testb", device="cpu")


def test_masks_have_the_photos_size(model) -> None:
    photo = np.zeros((30, 50, 3), np.uint8)
    masks = bb.predict(model, photo, ["the red man", "a star"], threshold=0.0, device="cpu")
    assert masks.shape == (2, 30, 50)
    assert masks.dtype == np.bool_
    assert bb.predict(model, photo, "the red man", device="cpu").shape == (1, 30, 50)


PHOTO = np.random.default_rng(0).integers(0, 256, (30, 50, 3), dtype=np.uint8)
NO_PHOTOS = {
    "0..1": (PHOTO / 255, r"float64, .*np\.uint8"),
    "single": ((PHOTO / 255).astype(np.float32), "float32"),
    "16 bits": (PHOTO.astype(np.uint16) * 257, r"uint16, .*photo // 257"),
    "whole numbers": (PHOTO.astype(np.int64), "int64"),
    "yes and no": (PHOTO > 9, "bool"),
    "transparency": (np.dstack([PHOTO, PHOTO[..., :1]]), r"\(30, 50, 4\).*leave out"),
    "gray": (PHOTO[..., 0], "gray becomes RGB"),
    "one channel": (PHOTO[..., :1], "gray becomes RGB"),
    "channels first": (PHOTO.transpose(2, 0, 1), r"transpose\(1, 2, 0\)"),
    "several": (PHOTO[None], "one photo at a time"),
    "nothing": (PHOTO[:0], r"\(0, 50, 3\)"),
    "tensor": (torch.from_numpy(PHOTO), "is a Tensor"),
    "list": (PHOTO.tolist(), "is a list"),
}


@pytest.mark.parametrize(("photo", "says"), NO_PHOTOS.values(), ids=NO_PHOTOS.keys())
def test_what_is_no_photo_is_refused(photo, says: str, model) -> None:
    """Taken for a photo, most would be black, and nothing would be found."""
    with pytest.raises(UsageError, match=f"(?s){says}"):
        bb.predict(model, photo, "the red man", device="cpu")


def test_a_photo_of_pillow_or_in_another_layout_is_the_same_photo(model) -> None:
    expected = bb.predict(model, PHOTO, "the red man", threshold=0.01, device="cpu")
    turned = Image.fromarray(np.rot90(PHOTO))
    turned.getexif()[0x0112] = 6
    for same in (Image.fromarray(PHOTO), turned, PHOTO[..., ::-1].copy()[..., ::-1], np.asfortranarray(PHOTO)):
        assert np.array_equal(bb.predict(model, same, "the red man", threshold=0.01, device="cpu"), expected)


@pytest.mark.parametrize("asked", [[], "", ["the man", " "], [3]], ids=["none", "empty", "blank", "number"])
def test_no_expression_is_refused(asked, model) -> None:
    with pytest.raises(UsageError, match="the man in red"):
        bb.predict(model, PHOTO, asked, device="cpu")


def test_values_beyond_their_range_are_refused(data, model) -> None:
    for threshold in (35, -0.1, float("nan"), "0.5", True):
        with pytest.raises(UsageError, match=f"threshold is {threshold!r}"):
            bb.predict(model, PHOTO, "the man", threshold=threshold, device="cpu")
        with pytest.raises(UsageError, match=f"threshold is {threshold!r}"):
            bb.evaluate(model, data, "val", threshold=threshold, device="cpu")
    with pytest.raises(UsageError, match="context_length is 2; it is a whole number from 3 on"):
        bb.predict(model, PHOTO, "the man", context_length=2, device="cpu")
    with pytest.raises(UsageError, match="batch is 0"):
        bb.evaluate(model, data, "val", batch=0, device="cpu")
    with pytest.raises(UsageError, match="workers is -1"):
        bb.evaluate(model, data, "val", workers=-1, device="cpu")


def test_it_computes_what_a_cell_computes(
    make_jobs: MakeJobs, tmp_path: Path, shapes_root: Path, backbone_folder: Path
) -> None:
    [job] = make_jobs(tmp_path, methods="snf")
    [record] = run_jobs([job], tmp_path, Told())
    assert record.status == "done", record.reason
    data = bb.open_data(job.files.data, job.cell.dataset)
    model = bb.build_segmenter("snf", backbone=job.files.backbone, weights="random", image_size=job.cell.image_size)
    recipe = parse_recipe("test", {k: v for k, v in job.cell.recipe.items() if k != "name"})
    training = bb.fit(model, data, recipe, device="cpu")
    assert [e["loss"] for e in training.history] == [e.loss for e in record.history]
    found = bb.evaluate(model, data, "val", device="cpu", batch=recipe.eval_batch, threshold=recipe.threshold)
    assert found.metrics.miou == record.splits["val"].scores.miou
    assert bb.load_results(tmp_path)["miou"].tolist()[0] == found.metrics.miou
