"""Evaluation against a slow one with every formula written out, from the files on disk to the scores."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from pycocotools import mask as coco
from torch import Tensor, nn

from barbench.datasets.importers.source import Request, import_data
from barbench.datasets.pickles import load_plain
from barbench.datasets.pixels.letterbox import Letterbox, normalized
from barbench.datasets.refer import read_refer
from barbench.datasets.references import ReferData
from barbench.datasets.samples import EvalSamples
from barbench.datasets.tokens import Tokens
from barbench.engine.counting import Row
from barbench.engine.evaluate import Evaluation, evaluate
from barbench.engine.partial import PartialEvaluation
from barbench.engine.predict import probabilities
from barbench.models.segmenter import Output, Segmenter
from barbench.models.towers.base import Backbone
from barbench.paper.partitions import PAPER_PARTITIONS
from barbench.spec.backbone import CLIP_NORMALIZATION
from tests.datasets.importers.evaluation_sets import r_refcoco
from tests.datasets.importers.release import Release
from tests.engine.resize_reference import weights
from tests.models.small import SIZE

GRID = 24
THRESHOLD = 0.35


class Blob(nn.Module):
    """A smooth bump whose position and size depend on the words and a little on the image; counts its inputs."""

    normalization = CLIP_NORMALIZATION

    def __init__(self) -> None:
        super().__init__()
        self.texts, self.images = 0, 0

    def forward(self, image: Tensor, ids: Tensor, rows: Tensor) -> Output:
        self.texts, self.images = self.texts + len(ids), self.images + len(image)
        return Output(bump(image[rows], ids)[:, None], None)


def bump(image: Tensor, ids: Tensor) -> Tensor:
    """Logits (B, GRID, GRID)."""
    place = (ids.double() * torch.arange(1, ids.shape[1] + 1)).sum(1)
    x, y, wide = place % 17 / 17, place % 23 / 23, 0.15 + place % 7 / 30
    axis = torch.arange(GRID) / (GRID - 1)
    far = (axis[None, None] - x[:, None, None]) ** 2 + (axis[None, :, None] - y[:, None, None]) ** 2
    return (4 * torch.exp(-far / wide[:, None, None] ** 2) - 2 + 0.1 * image.mean((1, 2, 3))[:, None, None]).float()


def slow_mask(logits: np.ndarray, height: int, width: int) -> np.ndarray:
    """Sigmoid; corners on corners of the square; pixel (x, y) of the image reads the square at (s x + b, s y + c)."""
    probability = 1 / (1 + np.exp(-logits.astype(np.float64)))
    up = weights(np.arange(SIZE) * (GRID - 1) / (SIZE - 1), GRID, clamp=True)
    square = up @ probability @ up.T
    scale = min(SIZE / height, SIZE / width)
    rows = weights(scale * np.arange(height) + (SIZE - scale * height) / 2, SIZE, clamp=False)
    columns = weights(scale * np.arange(width) + (SIZE - scale * width) / 2, SIZE, clamp=False)
    return rows @ square @ columns.T > THRESHOLD


def masks_on_disk(root: Path) -> dict[int, np.ndarray]:
    """Every annotation's mask at the image's resolution, by annotation id."""
    instances = json.loads((root / "refcoco+/instances.json").read_text())
    sizes = {i["id"]: (i["height"], i["width"]) for i in instances["images"]}
    masks = {}
    for annotation in instances["annotations"]:
        code = annotation["segmentation"]
        if isinstance(code, list):
            code = coco.merge(coco.frPyObjects(code, *sizes[annotation["image_id"]]))
        masks[annotation["id"]] = coco.decode(code) > 0
    return masks


def partner_on_disk(reference: dict[str, Any], references: list[dict[str, Any]]) -> int | None:
    """The annotation of the image's next reference by id, round and round (shapes refer to each object once)."""
    own = sorted((r for r in references if r["image_id"] == reference["image_id"]), key=lambda r: r["ref_id"])
    if len(own) == 1:
        return None
    at = [r["ref_id"] for r in own].index(reference["ref_id"])
    ann_id: int = own[(at + 1) % len(own)]["ann_id"]
    return ann_id


@pytest.fixture
def evaluated(val_samples: EvalSamples, accelerator: Accelerator) -> tuple[Evaluation, Blob]:
    """One evaluation of `Blob`, and the model with its counts."""
    blob = Blob()
    return evaluate(blob, val_samples, accelerator, batch=5, threshold=THRESHOLD), blob  # type: ignore[arg-type]


def test_against_a_slow_evaluation(
    evaluated: tuple[Evaluation, Blob], val_samples: EvalSamples, shapes_root: Path
) -> None:
    found = evaluated[0].expressions
    masks = masks_on_disk(shapes_root)
    references = load_plain(shapes_root / "refcoco+/refs(unc).p")
    by_id = {r["ref_id"]: r for r in references}
    own, control, off = [], [], []
    for index in range(len(val_samples)):
        item, reference = val_samples[[index]], by_id[int(found["ref_id"][index])]
        target = masks[reference["ann_id"]]
        mask = slow_mask(bump(normalized(item.images, CLIP_NORMALIZATION), item.ids)[0].numpy(), *target.shape)
        own.append((mask & target).sum() / (mask | target).sum())
        off.append(abs(int((mask & target).sum()) - int(found["intersection"][index])) / target.sum())
        partner = partner_on_disk(reference, references)
        if partner is None:
            assert found["control_union"][index] == -1
        else:
            other = masks[partner]
            control.append((mask & other).sum() / (mask | other).sum())
            assert found["control_union"][index] == pytest.approx((mask | other).sum(), rel=0.02)
    assert max(off) < 0.03  # OpenCV knows places to 1/32 pixel, so a few pixels of the rim may differ
    metrics, swapped = evaluated[0].metrics, evaluated[0].control
    assert metrics.miou == pytest.approx(np.mean(own), abs=2e-3)
    assert swapped is not None
    assert swapped.miou == pytest.approx(np.mean(control), abs=2e-3)
    assert (metrics.n, swapped.n) == (len(own), len(control))
    assert max(own) > 0.1


def test_rivals_against_masks_on_disk(
    evaluated: tuple[Evaluation, Blob], val_samples: EvalSamples, shapes_root: Path
) -> None:
    """Every other annotation of the image's file, with the prediction's mask from the same probabilities."""
    found, rivals = evaluated[0].expressions, evaluated[0].rivals
    assert rivals is not None
    annotations = json.loads((shapes_root / "refcoco+/instances.json").read_text())["annotations"]
    masks = masks_on_disk(shapes_root)
    by_row: dict[int, dict[int, tuple[int, int, int]]] = {row: {} for row in range(len(val_samples))}
    for row, ann_id, category, shared, area in zip(*(column.tolist() for column in rivals.values()), strict=True):
        by_row[row][ann_id] = (category, shared, area)
    several = 0
    for index in range(len(val_samples)):
        item, reference = val_samples[[index]], val_samples.expressions[index].reference
        own = {a["id"]: a for a in annotations if a["image_id"] == reference.image_id}
        logits = torch.from_numpy(bump(normalized(item.images, CLIP_NORMALIZATION), item.ids).numpy())
        probability = probabilities(logits[:, None], SIZE)[0].numpy()
        height, width = masks[reference.ann_id].shape
        restored = val_samples.letterbox.restore(probability, height, width)
        mask = restored > THRESHOLD
        category = own[reference.ann_id]["category_id"]
        expected = {}
        for ann_id, annotation in own.items():
            shared = int((mask & masks[ann_id]).sum())
            if ann_id != reference.ann_id and (shared or annotation["category_id"] == category):
                expected[ann_id] = (annotation["category_id"], shared, int(masks[ann_id].sum()))
        assert by_row[index] == expected
        several += len(expected) > 1
        assert found["category_id"][index] == category
        assert found["crowd_intersection"][index] == 0
        size = found["union"][index] - found["area"][index] + found["intersection"][index]
        assert size == mask.sum()
        partner = val_samples.partner(index)
        if partner is not None and partner.ann_id in expected:
            assert found["control_intersection"][index] == expected[partner.ann_id][1]
        assert found["peak"][index] == round(65535 * min(1.0, float(restored.max())))
        inside = float(restored[mask].astype(np.float64).mean()) if mask.any() else 0.0
        assert found["mean_inside"][index] == pytest.approx(65535 * inside, abs=1)
    assert several > 5
    assert evaluated[0].metrics["target_right"] == pytest.approx(right_on_disk(evaluated[0], masks))


def same_rivals(one: Evaluation, other: Evaluation) -> bool:
    assert one.rivals is not None
    assert other.rivals is not None
    assert len(other.rivals["row"]) > 0
    return all(np.array_equal(one.rivals[name], column) for name, column in other.rivals.items())


def right_on_disk(evaluation: Evaluation, masks: dict[int, np.ndarray]) -> float:
    """The share of right targets, one expression after the other."""
    table, rivals = evaluation.expressions, evaluation.rivals
    assert rivals is not None
    right = []
    for row in range(len(table["union"])):
        size = int(table["union"][row] - table["area"][row] + table["intersection"][row])
        same = (rivals["row"] == row) & (rivals["category_id"] == table["category_id"][row])
        if not same.any():
            continue
        scores = [0.0]
        if size:
            own = int(table["intersection"][row]) / (size * int(masks[int(table["ann_id"][row])].sum())) ** 0.5
            others = rivals["intersection"][same] / (size * rivals["area"][same]) ** 0.5
            scores = [own - float(others.max()) if own >= 0.10 else 0.0]
        right.append(scores[0] >= 0.05)
    return float(np.mean(right))


def test_every_expression_counts_exactly_once(
    evaluated: tuple[Evaluation, Blob], val_samples: EvalSamples, shapes_root: Path
) -> None:
    table, blob = evaluated[0].expressions, evaluated[1]
    references = [r for r in load_plain(shapes_root / "refcoco+/refs(unc).p") if r["split"] == "val"]
    expected = sorted(s["sent_id"] for r in references for s in r["sentences"])
    assert sorted(table["sent_id"].tolist()) == expected
    assert {len(column) for column in table.values()} == {len(expected)}
    assert {str(column.dtype) for column in table.values()} == {"int64"}
    assert blob.texts == len(expected), "swapping costs no second pass"
    assert table["sent_id"].tolist() == [val_samples.meta(i).sent_id for i in range(len(val_samples))]


@pytest.mark.parametrize(("batch", "workers"), [(1, 0), (64, 0), (5, 2), (64, 1)])
def test_batch_and_workers_do_not_matter(
    batch: int, workers: int, evaluated: tuple[Evaluation, Blob], val_samples: EvalSamples, accelerator: Accelerator
) -> None:
    seen: list[tuple[int, int, float]] = []
    other = evaluate(
        Blob(),  # type: ignore[arg-type]
        val_samples,
        accelerator,
        batch=batch,
        threshold=THRESHOLD,
        workers=workers,
        on_batch=lambda *told: seen.append(told),
    )
    assert seen[-1] == (len(val_samples), len(val_samples), pytest.approx(other.metrics.miou))
    assert all(np.array_equal(other.expressions[n], column) for n, column in evaluated[0].expressions.items())
    assert same_rivals(other, evaluated[0])


def test_images_are_read_once_per_batch(
    val_samples: EvalSamples, accelerator: Accelerator, evaluated: tuple[Evaluation, Blob]
) -> None:
    blob, all_images = Blob(), {e.reference.image_id for e in val_samples.expressions}
    evaluate(blob, val_samples, accelerator, batch=64, threshold=THRESHOLD)  # type: ignore[arg-type]
    assert blob.images == len(all_images)
    assert blob.images < blob.texts


def test_partner_is_another_object_of_the_image(val_samples: EvalSamples, data: ReferData) -> None:
    for index in range(len(val_samples)):
        meta, partner = val_samples.meta(index), val_samples.partner(index)
        if partner is not None:
            assert partner.image_id == meta.image_id
            assert partner.ann_id != meta.ann_id
            assert not np.array_equal(data.mask(partner.ann_id), data.mask(meta.ann_id))


def test_in_google_a_partner_may_be_of_another_split(shapes_root: Path, little: Backbone) -> None:
    data = read_refer(shapes_root, PAPER_PARTITIONS.get("refcocog-g"))
    samples = EvalSamples(data.split("val"), Letterbox(SIZE), Tokens(little.tokenizer, 22))
    partners = [samples.partner(index) for index in range(len(samples))]
    assert "train" in {p.split for p in partners if p is not None}


class Constant(nn.Module):
    """Gives the same logit everywhere, whatever the image and the words."""

    normalization = CLIP_NORMALIZATION

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def forward(self, image: Tensor, ids: Tensor, rows: Tensor) -> Output:
        return Output(torch.full((len(ids), 1, GRID, GRID), self.value), None)


def test_a_model_that_ignores_the_words_scores_the_same_swapped(
    val_samples: EvalSamples, accelerator: Accelerator
) -> None:
    """Everything is foreground: the control averages over the same objects, weighted by other numbers of sentences."""
    found = evaluate(Constant(9.0), val_samples, accelerator, batch=8, threshold=THRESHOLD)  # type: ignore[arg-type]
    assert found.control is not None
    assert found.control.miou == pytest.approx(found.metrics.miou, rel=0.35)
    table = found.expressions
    assert (table["union"] >= 0.97 * table["height"] * table["width"]).all()
    assert (table["intersection"] >= 0.95 * table["area"]).all()


def test_an_empty_prediction_scores_zero(val_samples: EvalSamples, accelerator: Accelerator) -> None:
    found = evaluate(Constant(-9.0), val_samples, accelerator, batch=8, threshold=THRESHOLD)  # type: ignore[arg-type]
    assert (found.metrics.miou, found.metrics.oiou) == (0.0, 0.0)
    assert (found.expressions["union"] == found.expressions["area"]).all()


def test_no_second_object_is_no_control(
    val_samples: EvalSamples, accelerator: Accelerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(EvalSamples, "partner", lambda self, index: None)
    found = evaluate(Constant(9.0), val_samples, accelerator, batch=8, threshold=THRESHOLD)  # type: ignore[arg-type]
    assert found.control is None
    assert set(found.expressions["control_union"].tolist()) == {-1}


def test_progress_reaches_the_end(val_samples: EvalSamples, accelerator: Accelerator) -> None:
    steps: list[tuple[int, int, float]] = []
    found = evaluate(
        Blob(), val_samples, accelerator, batch=8, threshold=THRESHOLD, on_batch=lambda *a: steps.append(a)  # type: ignore[arg-type]
    )  # fmt: skip
    assert steps[-1][:2] == (len(val_samples),) * 2
    assert steps[-1][2] == pytest.approx(found.metrics.miou)
    assert found.images_per_second > 0


@pytest.mark.slow
def test_two_processes_give_the_same_table(
    val_samples: EvalSamples,
    accelerator: Accelerator,
    build: Callable[..., Segmenter],
    shapes_root: Path,
    backbone_folder: Path,
    tmp_path: Path,
) -> None:
    alone = evaluate(build("barleria"), val_samples, accelerator, batch=4, threshold=THRESHOLD)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    arguments = [str(shapes_root), str(backbone_folder), str(tmp_path / "out.json")]
    done = subprocess.run(
        [*command, "-m", "tests.engine.distributed", *arguments],
        cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "out.json").read_text())
    assert found["processes"] == 2
    assert found["table"] == {name: column.tolist() for name, column in alone.expressions.items()}
    assert alone.rivals is not None
    assert found["rivals"] == {name: column.tolist() for name, column in alone.rivals.items()}
    rows = found["rivals"]["row"]
    assert min(rows) < len(val_samples) / 2 <= max(rows), "from both processes"


def test_reading_one_batch_late_changes_no_count(
    build: Callable[..., Segmenter], val_samples: EvalSamples, accelerator: Accelerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on CUDA, where the next batch is computed meanwhile."""
    segmenter, found = build("head-only"), []
    for late in (0, 1):
        monkeypatch.setattr("barbench.engine.evaluate.steps_in_flight", lambda device, late=late: late)
        found.append(evaluate(segmenter, val_samples, accelerator, batch=3, threshold=0.2))
    assert all(np.array_equal(found[0].expressions[name], found[1].expressions[name]) for name in found[0].expressions)
    assert found[0].expressions["intersection"].sum() > 0


class Stopping(Blob):
    """Stops as a signal would, before its batch `at`."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.left = at

    def forward(self, image: Tensor, ids: Tensor, rows: Tensor) -> Output:
        if self.left == 0:
            raise KeyboardInterrupt
        self.left -= 1
        return super().forward(image, ids, rows)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("seconds", [0.0, 1e9], ids=["written each time", "written as it ends"])
def test_an_evaluation_that_is_stopped_is_continued(
    evaluated: tuple[Evaluation, Blob],
    val_samples: EvalSamples,
    accelerator: Accelerator,
    tmp_path: Path,
    seconds: float,
    workers: int,
) -> None:
    """The batches are those of an evaluation in one piece, so that every count is the same."""
    scored = 0
    for at in (2, 1, 3):
        model = Stopping(at)
        with pytest.raises(KeyboardInterrupt):
            evaluate(
                model,  # type: ignore[arg-type]
                val_samples,
                accelerator,
                batch=5,
                threshold=THRESHOLD,
                workers=workers,
                partial=PartialEvaluation(tmp_path / "e" / "0.npz", "cell", seconds),
            )
        scored += model.texts
        kept = len(PartialEvaluation(tmp_path / "e" / "0.npz", "cell", seconds).load().rows)
        assert kept == scored if workers == 0 else 0 < kept <= scored
    last = Blob()
    steps: list[int] = []
    found = evaluate(
        last,  # type: ignore[arg-type]
        val_samples,
        accelerator,
        batch=5,
        threshold=THRESHOLD,
        on_batch=lambda done, total, iou: steps.append(done),
        partial=PartialEvaluation(tmp_path / "e" / "0.npz", "cell", seconds),
    )
    assert last.texts == len(val_samples) - kept
    assert steps[0] > kept
    assert steps[-1] == len(val_samples)
    for name, column in evaluated[0].expressions.items():
        assert np.array_equal(found.expressions[name], column), name
    assert same_rivals(found, evaluated[0])
    again = Blob()
    partial = PartialEvaluation(tmp_path / "e" / "0.npz", "cell", seconds)
    assert evaluate(again, val_samples, accelerator, batch=5, threshold=THRESHOLD, partial=partial).metrics == (  # type: ignore[arg-type]
        found.metrics
    )
    assert again.texts == 0, "all of it was there"


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut", None], ids=["empty", "cut", "of another cell"])
def test_what_is_no_part_of_this_evaluation_is_scored_anew(
    content: bytes | None, val_samples: EvalSamples, accelerator: Accelerator, tmp_path: Path
) -> None:
    path = tmp_path / "0.npz"
    if content is None:
        PartialEvaluation(path, "other weights", 0.0).save([Row(0, 1, 2, 3, 4, 5, 6, 7, ((8, 9),))], 1.0)
    else:
        path.write_bytes(content)
    blob = Blob()
    partial = PartialEvaluation(path, "cell", 0.0)
    evaluate(blob, val_samples, accelerator, batch=5, threshold=THRESHOLD, partial=partial)  # type: ignore[arg-type]
    assert blob.texts == len(val_samples)


def decoded_masks(evaluation: Evaluation) -> list[np.ndarray]:
    """What was kept, by pycocotools."""
    kept = evaluation.masks
    assert kept is not None
    found = []
    for place, (height, width) in enumerate(zip(kept["height"], kept["width"], strict=True)):
        counts = kept["counts"][kept["offsets"][place] : kept["offsets"][place + 1]].tobytes()
        found.append(coco.decode({"size": [int(height), int(width)], "counts": counts}) > 0)
    return found


def test_masks_that_are_kept_give_the_counts_again(
    val_samples: EvalSamples, data: ReferData, accelerator: Accelerator, tmp_path: Path
) -> None:
    """Also after a stop, whose masks are kept with its counts."""
    partial = PartialEvaluation(tmp_path / "0.npz", "cell", 0.0)
    with pytest.raises(KeyboardInterrupt):
        evaluate(
            Stopping(2),  # type: ignore[arg-type]
            val_samples,
            accelerator,
            batch=5,
            threshold=THRESHOLD,
            partial=partial,
            keep_masks=True,
        )
    found = evaluate(
        Blob(),  # type: ignore[arg-type]
        val_samples,
        accelerator,
        batch=5,
        threshold=THRESHOLD,
        partial=partial,
        keep_masks=True,
    )
    table, kept = found.expressions, decoded_masks(found)
    assert found.masks is not None
    assert np.array_equal(found.masks["sent_id"], table["sent_id"])
    for row, mask in enumerate(kept):
        target = data.mask(int(table["ann_id"][row])) > 0
        assert table["intersection"][row] == (mask & target).sum()
        assert table["union"][row] == (mask | target).sum()
    assert len({mask.sum() for mask in kept}) > 5


@pytest.mark.parametrize(("logit", "share"), [(-9.0, 0.0), (9.0, 1.0)], ids=["empty", "full"])
def test_an_empty_and_a_full_mask_come_back(
    logit: float, share: float, val_samples: EvalSamples, accelerator: Accelerator
) -> None:
    model = Constant(logit)
    found = evaluate(model, val_samples, accelerator, batch=8, threshold=THRESHOLD, keep_masks=True)  # type: ignore[arg-type]
    kept = decoded_masks(found)
    assert len(kept) == len(val_samples)
    # Bicubic interpolation with zeros beyond the square lowers the rim of a full one.
    assert all(mask.mean() == share if share == 0 else mask.mean() > 0.97 for mask in kept)
    assert evaluate(model, val_samples, accelerator, batch=8, threshold=THRESHOLD).masks is None  # type: ignore[arg-type]


@pytest.mark.parametrize(("logit", "rejected"), [(9.0, 0.0), (-9.0, 1.0)])
def test_sets_with_absent_targets_have_the_metrics_of_references(
    logit: float, rejected: float, tmp_path: Path, little: Backbone, accelerator: Accelerator
) -> None:
    release = Release()
    source = r_refcoco(release, tmp_path)
    made = import_data(Request(source, tmp_path / "root", images=release.write_images(tmp_path / "images")), ignored)
    samples = EvalSamples(made.data[0].split("val"), Letterbox(SIZE), Tokens(little.tokenizer, 22))
    found = evaluate(Constant(logit), samples, accelerator, batch=8, threshold=THRESHOLD)  # type: ignore[arg-type]
    groups = {ref["ref_id"]: len(ref["sentences"]) for ref in release.refs if ref["split"] == "val"}
    present = found.expressions["targets"] > 0
    for group, count in groups.items():
        own = found.expressions["group"] == group
        assert (own & present).sum() == count
        assert (own & ~present).sum() == 2
    assert found.metrics["mrr"] == found.metrics["n_acc"] == rejected
    pixels = found.expressions["height"] * found.expressions["width"]
    areas = found.expressions["area"]
    robust = []
    for group in groups:
        own = found.expressions["group"] == group
        robust.append(areas[own].sum() / pixels[own].sum() if logit > 0 else 0.0)
    assert found.metrics["riou"] == pytest.approx(np.mean(robust))


def ignored(done: int, total: int) -> None:
    """Progress that nobody sees."""
