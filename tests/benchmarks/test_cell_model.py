"""A trained cell put together again predicts what it predicted when it was scored."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from barbench.benchmarks.cell_model import Trained, load_trained
from barbench.datasets.pixels.images import decode_image
from barbench.datasets.refer import read_refer
from barbench.datasets.samples import EvalSamples
from barbench.errors import DataError, UsageError
from barbench.metrics import overlap
from barbench.paper.partitions import PAPER_PARTITIONS
from barbench.results.record import Record
from barbench.results.store import Store

FOLDER = "refcocog-g"


@pytest.fixture
def trained(finished: tuple[Store, Record], backbone_folder: Path) -> Trained:
    return load_trained(*finished, "cpu", str(backbone_folder))


def test_it_finds_in_a_photo_what_the_record_counts(
    trained: Trained, finished: tuple[Store, Record], shapes_root: Path
) -> None:
    """Image by image, all its expressions at once, against the pixels counted in the evaluation."""
    store, record = finished
    columns = store.expressions(record.cell)
    data = read_refer(shapes_root, PAPER_PARTITIONS.get(FOLDER))
    samples = EvalSamples(data.split("val"), trained.letterbox, trained.tokens)
    seen = 0
    for image_id in np.unique(columns["val/image_id"]):
        places = np.flatnonzero(columns["val/image_id"] == image_id)
        photo = decode_image(data.images[int(image_id)])
        found = trained.find(photo, [samples.expressions[p].sentence.text for p in places], None)
        for place, each in zip(places, found, strict=True):
            meet, union = overlap(each.mask, data.mask(int(columns["val/ann_id"][place])))
            assert meet == pytest.approx(columns["val/intersection"][place], abs=3)
            assert union == pytest.approx(columns["val/union"][place], abs=3)
            assert each.coverage == pytest.approx(each.mask.sum() / photo[..., 0].size)
            seen += int(each.mask.sum())
    assert seen > 0, "masks that are all empty would agree as well"


def test_score_and_peak_are_probabilities_of_the_mask(trained: Trained) -> None:
    photo = np.random.default_rng(0).integers(0, 256, (40, 200, 3)).astype(np.uint8)
    low = trained.find(photo, ["the red man", "a blue star"], 0.0)
    assert [f.expression for f in low] == ["the red man", "a blue star"]
    for found in low:
        assert found.mask.shape == (40, 200)
        assert found.score is not None
        assert 0 < found.score <= found.peak <= 1
    high = trained.find(photo, ["the red man"], 1.0)[0]
    assert (high.score, high.coverage) == (None, 0.0)
    assert high.peak == pytest.approx(low[0].peak, abs=1e-5)
    assert not low[0].cut
    assert trained.find(photo, ["the red man " * 20], None)[0].cut


def test_a_large_photo_gives_the_mask_of_a_small_one(trained: Trained) -> None:
    """Every pixel nine times: the mask covers the same share."""
    photo = np.random.default_rng(1).integers(0, 2, (6, 8, 3)).repeat(10, 0).repeat(10, 1).astype(np.uint8) * 255
    expressions = ["the red man", "a spotted star"]
    small = trained.find(photo, expressions, None)
    large = trained.find(photo.repeat(9, 0).repeat(9, 1), expressions, None)
    for one, other in zip(small, large, strict=True):
        assert other.mask.shape == (540, 720)
        assert other.coverage == pytest.approx(one.coverage, abs=0.06)


def test_other_backbones_and_weights_are_refused(finished: tuple[Store, Record], backbone_folder: Path) -> None:
    store, record = finished
    with pytest.raises(UsageError, match="was trained on the folder little: say where it is with --backbone FOLDER"):
        load_trained(store, record, "cpu")
    with pytest.raises(UsageError, match=r"backbone little@\w+; --backbone is tiny"):
        load_trained(store, record, "cpu", "tiny")
    tag = record.cell.model_copy(update={"backbone": "tiny", "weights": "pretrained@00000000"})
    changed = record.model_copy(update={"cell": tag})
    store.tuned(tag).parent.mkdir(parents=True, exist_ok=True)
    store.tuned(tag).write_bytes(store.tuned(record.cell).read_bytes())
    with pytest.raises(UsageError, match=r"trained on the weights pretrained@00000000 of tiny; these are pretrained@"):
        load_trained(store, changed, "cpu")
    file = tag.model_copy(update={"weights": "mine.pt@00000000"})
    store.tuned(file).parent.mkdir(parents=True, exist_ok=True)
    store.tuned(file).write_bytes(store.tuned(record.cell).read_bytes())
    with pytest.raises(UsageError, match=r"on the weights file mine\.pt: say where it is with --weights FILE"):
        load_trained(store, record.model_copy(update={"cell": file}), "cpu")


def test_tuned_weights_that_are_gone_or_of_something_else(
    finished: tuple[Store, Record], backbone_folder: Path, tmp_path: Path
) -> None:
    store, record = finished
    other = Store(tmp_path)
    tuned = other.tuned(record.cell)
    with pytest.raises(DataError, match=f"{tuned} does not exist"):
        load_trained(other, record, "cpu", str(backbone_folder))
    tuned.parent.mkdir(parents=True)
    tuned.write_bytes(b"no tensors")
    with pytest.raises(DataError, match="does not hold the weights"):
        load_trained(other, record, "cpu", str(backbone_folder))
    state = load_file(store.tuned(record.cell))
    first = next(iter(state))
    save_file({name: value for name, value in state.items() if name != first}, tuned)
    with pytest.raises(DataError, match=f"the weights lack {first}"):
        load_trained(other, record, "cpu", str(backbone_folder))
