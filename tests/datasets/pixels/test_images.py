"""Images whose EXIF turns them, and images of which only the decoder says that they are damaged."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from barbench.datasets.audit import verify
from barbench.datasets.letterbox_cache import LetterboxCache, check_images
from barbench.datasets.pixels.images import ImageInfo, decode_image, read_orientation, stored_size
from barbench.datasets.pixels.letterbox import Letterbox
from barbench.datasets.refer import read_refer
from barbench.errors import DataError
from barbench.paper.partitions import Partition
from barbench.spec.dataset import DATASETS
from tests.datasets.refer_folder import HEIGHT, WIDTH, pixels


def tagged(path: Path, orientation: int, kind: str = "JPEG") -> ImageInfo:
    """A photo of 40 x 30 stored pixels; its info has the size that a person sees."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels(1)[..., ::-1]).save(path, kind, exif=exif)
    size = (HEIGHT, WIDTH) if orientation > 4 else (WIDTH, HEIGHT)
    return ImageInfo(1, path, *size, apply_exif=True)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_upright_image_is_what_pillow_shows(tmp_path: Path, orientation: int, kind: str) -> None:
    info = tagged(tmp_path / "a", orientation, kind)
    assert (stored_size(info.path), read_orientation(info.path)) == ((WIDTH, HEIGHT), orientation)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(info.path)))
    assert np.abs(decode_image(info).astype(int) - expected).max() <= 3  # two JPEG decoders
    stored = decode_image(replace(info, width=WIDTH, height=HEIGHT, apply_exif=False))
    assert np.abs(stored.astype(int) - np.asarray(Image.open(info.path))).max() <= 3


def test_a_size_that_a_turned_tag_explains_names_exif(tmp_path: Path) -> None:
    info = tagged(tmp_path / "a.jpg", 6)
    with pytest.raises(DataError, match=r"has 40x30 pixels, instances.json says 30x40: its EXIF .* --exif apply"):
        decode_image(replace(info, apply_exif=False))
    with pytest.raises(DataError, match=r"has 30x40 .* leave that option out"):
        decode_image(replace(info, width=WIDTH, height=HEIGHT))
    with pytest.raises(DataError, match=r"says 31x40$"):
        decode_image(replace(info, width=31))


def test_a_broken_exif_block_is_no_orientation(tmp_path: Path) -> None:
    jpeg = cv2.imencode(".jpg", pixels(1))[1].tobytes()
    block = b"Exif\x00\x00II*\x00\xff\xff\xff\xff"
    (tmp_path / "a.jpg").write_bytes(jpeg[:2] + b"\xff\xe1" + (len(block) + 2).to_bytes(2) + block + jpeg[2:])
    assert read_orientation(tmp_path / "a.jpg") == 1
    assert decode_image(ImageInfo(1, tmp_path / "a.jpg", WIDTH, HEIGHT, True)).shape == (HEIGHT, WIDTH, 3)


@pytest.fixture
def turned_root(root: Path) -> Path:
    """The hand-written folder, its images stored on their side with a tag that turns them back."""
    for path in root.rglob("*.jpg"):
        picture = Image.open(path).convert("RGB").transpose(Image.Transpose.ROTATE_90)
        exif = Image.Exif()
        exif[0x0112] = 6
        picture.save(path, exif=exif, quality=95, subsampling=0)
    return root


def test_annotations_of_turned_images_are_read_with_exif_apply(turned_root: Path, refcoco: Partition) -> None:
    as_stored = verify(turned_root, [refcoco], "real")
    assert all("--exif apply" in f.text for f in as_stored.findings if "30x40" in f.text)
    assert sum("--exif apply" in f.text for f in as_stored.findings) == 4
    upright = verify(turned_root, [replace(refcoco, exif="apply")], "real").findings
    assert not [f for f in upright if "pixels" in f.text]
    info = read_refer(turned_root, replace(refcoco, exif="apply")).images[1]
    assert np.abs(decode_image(info).astype(int) - pixels(1)[..., ::-1]).mean() < 9


def test_every_member_of_a_turned_mixture_is_turned() -> None:
    assert all(p.exif == "apply" for p in DATASETS.get("mixed").with_exif("apply").partitions)
    assert not any(p.exif == "apply" for p in DATASETS.get("mixed").partitions)


def test_the_cache_keeps_both_readings_apart(tmp_path: Path) -> None:
    info = tagged(tmp_path / "a.jpg", 3)
    kept = LetterboxCache(Letterbox(48), tmp_path / "cache")
    first, second = (kept.images([i]) for i in (info, replace(info, apply_exif=False)))
    assert (first != second).any()
    assert (kept.images([info]) == first).all()


def hole(path: Path) -> None:
    """Three hundred zero bytes in the middle: the decoder complains, and gives an image all the same."""
    data = bytearray(path.read_bytes())
    third = len(data) // 3
    data[third : third + 300] = bytes(300)
    path.write_bytes(bytes(data))


def test_a_damaged_evaluation_image_is_named_before_training(root: Path, refcoco: Partition, tmp_path: Path) -> None:
    data = read_refer(root, refcoco)
    bad = data.images[3].path
    noise = np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3)).astype(np.uint8)
    cv2.imwrite(str(bad), noise)
    hole(bad)
    squares = LetterboxCache(Letterbox(48), tmp_path / "cache")
    splits = [data.split(name) for name in ("val", "testA", "testB")]
    for _ in range(2):  # it is not kept, so that the next cell hears of it, too
        [line] = check_images(splits, squares)
        assert line.startswith(f"{bad} is damaged: ")
    assert data.problems.counts()["damaged image"] == 1
    assert all(squares.holds(data.images[i]) for i in (9, 4))


def test_a_damaged_training_image_is_named_where_it_is_used(
    root: Path, refcoco: Partition, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    info = read_refer(root, refcoco).images[1]
    cv2.imwrite(str(info.path), np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3)).astype(np.uint8))
    hole(info.path)
    LetterboxCache(Letterbox(48)).images([info])
    err = capfd.readouterr().err
    assert err.startswith(f"note: {info.path} is damaged: ")
    assert len(err.splitlines()) == 1
