"""Image files whose pixels are whole and whose other parts are not: they are sound, and the cache keeps them."""

import io
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms

from barbench.datasets.letterbox_cache import LetterboxCache
from barbench.datasets.pixels.decoder_warnings import decode_with_warnings
from barbench.datasets.pixels.images import ImageInfo, decode_image
from barbench.datasets.pixels.letterbox import Letterbox
from barbench.datasets.pixels.metadata import without_metadata

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
ROWS = b"".join(b"\0" + row.tobytes() for row in PIXELS)


def written(form: str, picture: Image.Image | None = None, **options: object) -> bytes:
    file = io.BytesIO()
    (picture or Image.fromarray(PIXELS)).save(file, form, **options)
    return file.getvalue()


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def segment(code: int, body: bytes) -> bytes:
    return bytes((0xFF, code)) + struct.pack(">H", len(body) + 2) + body


PNG, JPEG = written("PNG"), written("JPEG", quality=95)
BARE_JPEG = JPEG[:2] + JPEG[20:]  # without the JFIF segment
SCAN = JPEG.index(b"\xff\xda")
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
PNG_PARTS = {
    "exif": chunk(b"eXIf", b"rubbish"),
    "time": chunk(b"tIME", b"\xff" * 7),
    "background": chunk(b"bKGD", b"\0"),
    "profile": chunk(b"iCCP", b"x\0\0"),
    "bits": chunk(b"sBIT", b"\0"),
    "size": chunk(b"pHYs", b"\0"),
    "transparency": chunk(b"tRNS", b"\0"),
    "text": chunk(b"zTXt", b"a\0\0rubbish"),
    "checksum of a text": chunk(b"tEXt", b"a\0b")[:-1] + b"x",
}
FILES = {
    **{f"png {name}": PNG[:33] + part + PNG[33:] for name, part in PNG_PARTS.items()},
    "png gray with a color profile": written("PNG", Image.fromarray(PIXELS).convert("L"), icc_profile=PROFILE),
    "png bytes behind the pixels": PNG[:33] + chunk(b"IDAT", zlib.compress(ROWS) + b"more") + chunk(b"IEND", b""),
    "png rows behind the last": PNG[:33] + chunk(b"IDAT", zlib.compress(ROWS + b"1" * 500)) + chunk(b"IEND", b""),
    "jpg bytes between segments": JPEG[:20] + b"xyz" + JPEG[20:],
    "jpg version of JFIF": JPEG.replace(b"JFIF\0\1", b"JFIF\0\7"),
    "jpg color transform": BARE_JPEG[:2] + segment(0xEE, b"Adobe\0\x64\0\0\0\0\x07") + BARE_JPEG[2:],
    "jpg coefficients of a scan": JPEG[: SCAN + 11] + b"\0\0\0" + JPEG[SCAN + 14 :],
    "jpg profile": JPEG[:2] + segment(0xE2, b"ICC_PROFILE\0\5\2junk") + JPEG[2:],
}


def info_of(data: bytes, path: Path) -> ImageInfo:
    path.write_bytes(data)
    return ImageInfo(1, path, 60, 40)


@pytest.mark.parametrize("name", FILES)
def test_whole_pixels_are_sound_and_kept(name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    info = info_of(FILES[name], tmp_path / f"a.{name[:3]}")
    [(found, complaint)] = decode_with_warnings(decode_image, [info])
    assert complaint is None
    expected = PIXELS if name.startswith("png") else decode_image(info_of(JPEG, tmp_path / "plain.jpg"))
    if "gray" not in name:
        assert np.array_equal(found, expected)
    squares = LetterboxCache(Letterbox(48), tmp_path / "cache")
    squares.images([info])
    assert squares.holds(info)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("name", [name for name in FILES if name.startswith("jpg")])
def test_a_remark_does_not_hide_the_damage_behind_it(name: str, tmp_path: Path) -> None:
    """libjpeg prints the first line alone."""
    data = bytearray(FILES[name])
    third = len(data) // 3
    data[-third : -third + 300] = bytes(300)
    info = info_of(bytes(data), tmp_path / "a.jpg")
    [(_, complaint)] = decode_with_warnings(decode_image, [info])
    assert complaint
    assert "Corrupt JPEG data" in complaint


def kinds() -> dict[str, bytes]:
    picture = Image.fromarray(PIXELS)
    palette = picture.convert("P", palette=Image.Palette.ADAPTIVE, colors=16)
    gray16 = np.arange(2400, dtype=np.uint16).reshape(40, 60) * 27
    ok, rgb16 = cv2.imencode(".png", PIXELS.astype(np.uint16) * 257)
    assert ok
    return {
        "palette": written("PNG", palette, transparency=3),
        "gray": written("PNG", picture.convert("L"), transparency=7),
        "gray and alpha": written("PNG", picture.convert("LA")),
        "alpha": written("PNG", picture.convert("RGBA")),
        "color that is transparent": written("PNG", picture, transparency=(1, 2, 3)),
        "bits": written("PNG", picture.convert("1")),
        "gray of 16 bits": written("PNG", Image.fromarray(gray16)),
        "16 bits": rgb16.tobytes(),
        "jpeg": written("JPEG", exif=Image.Exif().tobytes(), icc_profile=PROFILE, comment=b"a comment"),
        "progressive": written("JPEG", progressive=True),
        "gray jpeg": written("JPEG", picture.convert("L")),
        "cmyk": written("JPEG", picture.convert("CMYK")),
        "rgb jpeg": written("JPEG", keep_rgb=True),
        "adobe": FILES["jpg color transform"].replace(b"\0\0\0\0\x07", b"\0\0\0\0\1"),
    }


@pytest.mark.parametrize("data", kinds().values(), ids=kinds().keys())
def test_no_pixel_changes(data: bytes) -> None:
    flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
    with_all, without = (cv2.imdecode(np.frombuffer(file, np.uint8), flags) for file in (data, without_metadata(data)))
    assert with_all is not None
    assert np.array_equal(with_all, without)


@pytest.mark.parametrize("data", [PNG, JPEG, b"GIF89a"])
def test_a_file_may_end_anywhere(data: bytes) -> None:
    for end in range(len(data)):
        without_metadata(data[:end])
    assert without_metadata(b"GIF89a") == b"GIF89a"
