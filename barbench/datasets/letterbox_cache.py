"""Letterboxed images and masks, kept on disk so that none is decoded twice: `barbench run --cache`.

A square is one file, made when it is first asked for and used by everything that asks later: other epochs, other cells,
other splits of the same images. So nothing is built beforehand and nothing is locked. Files appear complete (written
under another name, then renamed), whoever writes and whenever it is killed; two processes may make the same square,
with the same content. What is read is bit for bit what would be made.
"""

import hashlib
import math
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import get_worker_info

from barbench.datasets.pixels.decoder_warnings import decode_with_warnings
from barbench.datasets.pixels.images import ImageInfo, decode_image
from barbench.datasets.pixels.letterbox import Letterbox
from barbench.datasets.pixels.masks import Rle
from barbench.datasets.references import ReferData, ReferSplit
from barbench.files import atomic_file
from barbench.spec.backbone import CLIP_NORMALIZATION

THREADS = 4  # that decode what an evaluation will need
CHUNK = 32  # images that they decode before the decoders' complaints are read
VERSION = 1  # raise it whenever the letterbox would give other pixels
MASK_BYTES = 8192  # of a mask, about; an image takes 3 bytes a pixel
RUN = np.dtype([("value", "<f4"), ("length", "<i4")])


@dataclass(frozen=True)
class LetterboxCache:
    """Letterboxed images and masks, read from `folder` if they are there, else computed and stored; None stores
    nothing."""

    letterbox: Letterbox
    folder: Path | None = None

    def images(self, infos: Sequence[ImageInfo]) -> Tensor:
        """Letterbox images. A file that has changed, by its size or time, is decoded again. What a decoder complains of
        is printed with the file's name; such an image is not stored. DataError if an image cannot be decoded.

        Returns:
            uint8 (B, S, S, 3) RGB.
        """
        side = self.letterbox.size
        batch = _fresh((len(infos), side, side, 3), torch.uint8)
        absent = []
        for info, square in zip(infos, batch.numpy(), strict=True):
            if self.folder is None or not _read_into(self._image_path(info), square):
                absent.append((info, square))
        for info, complaint in self.decode(absent).items():
            print(f"note: {info.path} is damaged: {complaint}", file=sys.stderr)
        return batch

    def decode(
        self, pairs: Sequence[tuple[ImageInfo, NDArray[np.uint8]]], apply: Callable[..., Iterable[None]] = map
    ) -> dict[ImageInfo, str]:
        """Decode and letterbox images, and store those that are sound; DataError if one cannot be decoded.

        Args:
            pairs: images, and where their squares are written: uint8 (S, S, 3).
            apply: as `map`, which it may do in threads.

        Returns:
            What decoders complained of.
        """
        complaints = {}
        decoded = decode_with_warnings(self._letterbox, pairs, apply)
        for (info, square), (_, complaint) in zip(pairs, decoded, strict=True):
            if complaint is not None:
                complaints[info] = complaint
            elif self.folder is not None:
                _write(self._image_path(info), square)
        return complaints

    def masks(self, rles: Sequence[Rle]) -> Tensor:
        """Letterbox B masks, float32 (B, S, S) in 0..1; on disk they are runs of equal values."""
        side = self.letterbox.size
        batch = _fresh((len(rles), side, side), torch.float32)
        for square, rle in zip(batch.numpy(), rles, strict=True):
            self._mask(rle, square)
        return batch

    def _letterbox(self, pair: tuple[ImageInfo, NDArray[np.uint8]]) -> None:
        info, square = pair
        square[:] = self.letterbox.image(decode_image(info)).numpy()

    def _mask(self, rle: Rle, square: NDArray[np.float32]) -> None:
        path = None
        if self.folder is not None:
            path = self._path("mask", f"{rle.height} {rle.width} ".encode() + rle.counts)
            runs = _read(path, RUN)
            if runs is not None and int(runs["length"].sum()) == square.size:
                square.ravel()[:] = np.repeat(runs["value"], runs["length"])
                return
        square[:] = self.letterbox.mask(rle.decode()).numpy()
        if path is not None:
            _write(path, _runs(square.ravel()))

    def holds(self, info: ImageInfo) -> bool:
        """Whether the image is on disk already."""
        return self.folder is not None and self._image_path(info).exists()

    def _image_path(self, info: ImageInfo) -> Path:
        try:
            stat = info.path.stat()
        except OSError:  # which file and why is said where it is decoded
            return self._path("image", str(info.path).encode())
        key = f"{info.path.absolute()}|{stat.st_size}|{stat.st_mtime_ns}|{info.height}|{info.width}"
        if info.apply_exif:
            key += "|upright"
        return self._path("image", key.encode())

    def _path(self, kind: str, key: bytes) -> Path:
        """Other code and another OpenCV may round differently, so each has its own folder."""
        assert self.folder is not None
        folder = f"{kind}s-{self.letterbox.size}-v{VERSION}-cv{cv2.__version__}"
        # The mean is the color around an image.
        mean = self.letterbox.normalization.mean
        if kind == "image" and mean != CLIP_NORMALIZATION.mean:
            channels = "-".join(map(str, mean))
            folder += f"-mean{channels}"
        name = hashlib.blake2b(key, digest_size=16).hexdigest()
        return self.folder / folder / name[:2] / name


def check_images(splits: Iterable[ReferSplit], squares: LetterboxCache) -> list[str]:
    """Decode the images of evaluation splits, so that a bad one is found before the training and not after it.

    Images of which a decoder complains are noted among the data's problems, and returned in words; DataError if one
    cannot be decoded. The cache keeps sound images; those that it holds have been decoded before and are skipped.
    """
    # Every image once, though several splits may use it; and the data sets that use it.
    users: dict[ImageInfo, list[ReferData]] = {}
    for split in splits:
        image_ids = dict.fromkeys(reference.image_id for reference in split.references)
        for image_id in image_ids:
            users.setdefault(split.data.images[image_id], []).append(split.data)
    wanted = [info for info in users if not squares.holds(info)]

    # In parts, each in threads: what a decoder complains of is known per part.
    side = squares.letterbox.size
    complaints: dict[ImageInfo, str] = {}
    with ThreadPoolExecutor(THREADS) as pool:
        for start in range(0, len(wanted), CHUNK):
            chunk = wanted[start : start + CHUNK]
            room = np.empty((len(chunk), side, side, 3), np.uint8)
            complaints |= squares.decode(list(zip(chunk, room, strict=True)), pool.map)

    notes = []
    for info, complaint in complaints.items():
        for data in users[info]:
            data.problems.note("damaged image", info.path.name)
        notes.append(f"{info.path} is damaged: {complaint}")
    return notes


@dataclass(frozen=True)
class DiskSpace:
    """How many bytes the squares of a data set will still take, at most, and how many are free on that disk."""

    needed: int
    free: int

    @property
    def fits(self) -> bool:
        """Whether half of the free space stays free."""
        return self.needed <= self.free // 2


def disk_space(squares: LetterboxCache, splits: Iterable[ReferSplit]) -> DiskSpace:
    """Estimate the space for all images and masks of some splits; a square that is on disk already costs nothing."""
    assert squares.folder is not None
    infos: set[ImageInfo] = set()
    masks = 0
    for split in splits:
        infos.update(split.data.images[reference.image_id] for reference in split.references)
        masks += len(split.references)
    missing = sum(not squares.holds(info) for info in infos)
    # As many of the masks are missing as of the images.
    share = missing / max(1, len(infos))
    image_bytes = 3 * squares.letterbox.size**2
    needed = missing * image_bytes + int(share * masks * MASK_BYTES)
    # The folder need not exist yet.
    there = squares.folder
    while not there.exists():
        there = there.parent
    return DiskSpace(needed, shutil.disk_usage(there).free)


def _runs(values: NDArray[np.float32]) -> NDArray[Any]:
    """Runs of equal values of a flat array, in order."""
    differs = values[1:] != values[:-1]
    starts = np.flatnonzero(np.concatenate([[True], differs]))
    runs = np.empty(len(starts), RUN)
    runs["value"] = values[starts]
    runs["length"] = np.diff(starts, append=len(values))
    return runs


def _fresh(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """An uninitialised tensor. In a loader's process it is in shared memory, so that the trainer need not copy it."""
    batch = torch.empty(0, dtype=dtype)
    if get_worker_info() is not None:  # as torch's own collate does it
        size = math.prod(shape) * batch.element_size()
        batch.set_(torch.UntypedStorage._new_shared(size))  # type: ignore[no-untyped-call]
    return batch.resize_(shape)


def _read_into(path: Path, values: NDArray[np.uint8]) -> bool:
    """Read a file into `values`; False if it does not have as many bytes."""
    try:
        with path.open("rb", buffering=0) as file:
            return os.fstat(file.fileno()).st_size == values.nbytes == file.readinto(values.data)
    except OSError:
        return False


def _read(path: Path, dtype: np.dtype[Any]) -> NDArray[Any] | None:
    try:
        return np.fromfile(path, dtype)
    except OSError:
        return None


def _write(path: Path, values: NDArray[Any]) -> None:
    """Store a square if possible: a full or read-only disk costs time, and does not stop the run."""
    try:
        with atomic_file(path, sync=False) as file:
            file.write(values.tobytes())
    except OSError:
        return
