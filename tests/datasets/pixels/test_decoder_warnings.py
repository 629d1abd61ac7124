"""A JPEG with a hole: decoders return an image, and `data verify` must not call it sound."""

import os
from pathlib import Path

import cv2
import numpy as np

from barbench.datasets.audit import _open_all
from barbench.datasets.pixels.decoder_warnings import decoder_warnings
from barbench.datasets.pixels.images import ImageInfo


def test_only_the_damaged_image_is_named(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (90, 120, 3)).astype(np.uint8)
    infos = [ImageInfo(n, tmp_path / f"{n}.jpg", 120, 90) for n in range(3)]
    for info in infos:
        cv2.imwrite(str(info.path), pixels)
    data = bytearray(infos[1].path.read_bytes())
    third = len(data) // 3
    data[third : third + 300] = bytes(300)
    infos[1].path.write_bytes(bytes(data))
    findings, sound = _open_all(dict.fromkeys(infos, "refcoco"), None)
    assert len(findings) == 1
    assert f"{infos[1].path} is damaged" in findings[0].text
    assert set(sound) == {infos[0], infos[2]}


def test_other_lines_go_on_to_standard_error(capfd) -> None:  # type: ignore[no-untyped-def]
    with decoder_warnings() as said:
        os.write(2, b"Corrupt JPEG data: bad Huffman code\nsomething else\n")
    assert said == ["Corrupt JPEG data: bad Huffman code"]
    assert capfd.readouterr().err == "something else\n"
