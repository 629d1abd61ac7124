"""Kept squares are those that would be made, whatever befell the files; and they are not made twice."""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from barbench.datasets import letterbox_cache as module
from barbench.datasets.letterbox_cache import LetterboxCache, disk_space
from barbench.datasets.pixels.images import ImageInfo, decode_image
from barbench.datasets.pixels.letterbox import Letterbox
from barbench.datasets.pixels.masks import Rle, from_mask
from barbench.datasets.refer import read_refer
from barbench.datasets.references import ReferData
from barbench.datasets.samples import EvalSamples, TrainSamples
from barbench.datasets.tokens import Tokens
from barbench.errors import DataError
from barbench.paper.partitions import Partition
from barbench.spec.backbone import CLIP_NORMALIZATION, Normalization

BOX = Letterbox(48)


@pytest.fixture
def info(tmp_path: Path) -> ImageInfo:
    return picture(tmp_path / "a.jpg", 0)


@pytest.fixture
def kept(tmp_path: Path) -> LetterboxCache:
    return LetterboxCache(BOX, tmp_path / "cache")


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The images that were decoded."""
    paths: list[Path] = []
    monkeypatch.setattr(module, "decode_image", lambda info: (paths.append(info.path), decode_image(info))[1])
    return paths


def picture(path: Path, seed: int) -> ImageInfo:
    noise = np.random.default_rng(seed).integers(0, 256, (40, 60, 3)).astype(np.uint8)
    cv2.imwrite(str(path), noise)
    return ImageInfo(1, path, 60, 40)


def blob() -> Rle:
    y, x = np.mgrid[0:40, 0:60]
    return from_mask((((x - 33) / 19) ** 2 + ((y - 17) / 11) ** 2 < 1).astype(np.uint8))


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_what_is_kept_is_what_would_be_made(info: ImageInfo, kept: LetterboxCache, opened: list[Path]) -> None:
    for _ in range(3):
        assert torch.equal(kept.images([info])[0], BOX.image(decode_image(info)))
        assert torch.equal(kept.masks([blob()])[0], BOX.mask(blob().decode()))
    assert opened == [info.path]
    assert kept.masks([blob()])[0].dtype == torch.float32
    assert len(np.unique(kept.masks([blob()])[0])) > 10, "the rim is soft"
    empty = from_mask(np.zeros((40, 60), np.uint8))
    assert not [kept.masks([empty])[0] for _ in range(2)][1].any()


def test_without_a_folder_nothing_is_kept(info: ImageInfo, opened: list[Path]) -> None:
    for _ in range(2):
        assert torch.equal(LetterboxCache(BOX).images([info])[0], BOX.image(decode_image(info)))
    assert len(opened) == 2


def test_a_changed_picture_is_decoded_anew(info: ImageInfo, kept: LetterboxCache, opened: list[Path]) -> None:
    before = kept.images([info])[0]
    time = info.path.stat().st_mtime_ns
    picture(info.path, 1)
    os.utime(info.path, ns=(time + 10, time + 10))
    assert not torch.equal(kept.images([info])[0], before)
    assert torch.equal(kept.images([info])[0], BOX.image(decode_image(info)))
    assert len(opened) == 2


def test_each_size_and_each_opencv_has_its_own(
    info: ImageInfo, kept: LetterboxCache, opened: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept.images([info])[0]
    assert LetterboxCache(Letterbox(32), kept.folder).images([info]).shape == (1, 32, 32, 3)
    monkeypatch.setattr(cv2, "__version__", "3.14")
    kept.images([info])[0]
    assert len(opened) == 3


def test_images_are_kept_by_the_color_around_them_and_masks_are_shared(
    info: ImageInfo, kept: LetterboxCache, opened: list[Path]
) -> None:
    """CLIP's color has the folder that it always had."""
    kept.images([info])
    other = LetterboxCache(Letterbox(48, Normalization((0.5, 0.5, 0.5), CLIP_NORMALIZATION.std)), kept.folder)
    found = other.images([info])[0]
    assert torch.equal(found, other.letterbox.image(decode_image(info)))
    assert not torch.equal(found, kept.images([info])[0])
    assert len(opened) == 2
    assert kept.folder is not None
    usual = f"images-48-v1-cv{cv2.__version__}"
    assert {path.name for path in kept.folder.iterdir()} == {usual, f"{usual}-mean0.5-0.5-0.5"}
    assert other._path("mask", b"key") == kept._path("mask", b"key")


@pytest.mark.parametrize("damage", [b"", b"x" * 40, None])
def test_a_damaged_file_is_made_anew(
    damage: bytes | None, info: ImageInfo, kept: LetterboxCache, opened: list[Path]
) -> None:
    """Cut, of no known length, or a folder in its place."""
    due = kept.images([info])[0], kept.masks([blob()])[0]
    assert kept.folder is not None
    for path in files(kept.folder):
        path.write_bytes(damage if damage is not None else path.read_bytes()[:-8])
    for _ in range(2):
        assert torch.equal(kept.images([info])[0], due[0])
        assert torch.equal(kept.masks([blob()])[0], due[1])
    assert len(opened) == 2


def test_a_disk_that_takes_nothing_is_no_error(
    info: ImageInfo, kept: LetterboxCache, opened: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    for _ in range(2):
        assert torch.equal(kept.images([info])[0], BOX.image(decode_image(info)))
    assert kept.folder is not None
    assert files(kept.folder) == []
    assert len(opened) == 2


def test_what_is_wrong_with_a_picture_is_said(info: ImageInfo, kept: LetterboxCache) -> None:
    kept.images([info])[0]
    with pytest.raises(DataError, match=r"has 60x40 pixels, instances\.json says 61x40"):
        kept.images([replace(info, width=61)])
    info.path.unlink()
    with pytest.raises(DataError, match="cannot be read"):
        kept.images([info])[0]


def test_many_at_once(tmp_path: Path, kept: LetterboxCache) -> None:
    infos = [picture(tmp_path / f"{seed}.png", seed) for seed in range(6)]
    with ThreadPoolExecutor(1) as one, ThreadPoolExecutor(1) as two:
        found = [list(pool.map(lambda info: kept.images([info])[0], infos * 4)) for pool in (one, two)]
    for images in found:
        for info, image in zip(infos * 4, images, strict=True):
            assert torch.equal(image, BOX.image(decode_image(info)))


def test_samples_are_the_same_from_the_cache(
    root: Path, refcoco: Partition, tokens: Tokens, tmp_path: Path, opened: list[Path]
) -> None:
    data = read_refer(root, refcoco)
    train, val = data.split("train"), data.split("val")
    plain = TrainSamples(train, BOX, tokens, 0)
    everything = list(range(len(plain)))
    due = [plain[[i]] for i in everything]
    for _ in range(2):
        opened.clear()
        cached = TrainSamples(train, BOX, tokens, 0, tmp_path / "cache")
        batch = cached[everything]
        for index, item in enumerate(due):
            assert torch.equal(batch.images[index], item.images[0])
            assert torch.equal(batch.masks[index], item.masks[0])
    assert opened == []
    batches = [EvalSamples(val, BOX, tokens, folder)[[0, 3]] for folder in (None, tmp_path / "cache")]
    assert torch.equal(batches[0].images, batches[1].images)


def test_disk_space_counts_what_is_missing(
    data: ReferData, kept: LetterboxCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    splits = [data.split("train"), data.split("val"), data.split("val")]
    infos = {data.images[r.image_id] for split in splits for r in split.references}
    assert disk_space(kept, splits).needed > len(infos) * 3 * 48 * 48
    for info in infos:
        kept.images([info])[0]
    assert disk_space(kept, splits).needed == 0
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: SimpleNamespace(free=10_000))
    assert disk_space(kept, splits).fits
    assert not disk_space(LetterboxCache(Letterbox(64), kept.folder), splits).fits


@pytest.fixture
def data(root: Path, refcoco: Partition) -> ReferData:
    return read_refer(root, refcoco)
