"""Captures what image decoders print to standard error: libjpeg fills a damaged part with gray, prints a warning, and
returns an image all the same. Used by `data verify` and wherever images are letterboxed.

OpenCV and Pillow give no other access to these warnings: both decode a JPEG with a hole of zero bytes without any
error.
"""

import contextlib
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

_COMPLAINT = re.compile(rb"(?i)jpeg|libpng|huffman")
_REMARK = re.compile(rb"IDAT: (Too much image data|Extra compressed data)")
"""On bytes behind the last pixel: all pixels are there. See `metadata` for the other remarks."""


@contextlib.contextmanager
def decoder_warnings() -> Iterator[list[str]]:
    """Capture the decoders' lines on damage; remarks on whole pixels are left out, and all other lines are passed on.

    File descriptor 2 belongs to the whole process, so only one block may be open at a time, and lines of several
    threads inside cannot be told apart: if a block of several images has warnings, decode them again one by one.

    Yields:
        A list that is filled when the block ends, one entry per line; it stays empty in a process without standard
            error, or without a place for temporary files.
    """
    # The standard error is kept under another number, and a file takes its place.
    said: list[str] = []
    try:
        kept = os.dup(2)
    except OSError:
        yield said
        return
    try:
        caught = tempfile.TemporaryFile()  # noqa: SIM115  (closed below)
    except OSError:  # no place for temporary files: the decoders' lines go where they would
        os.close(kept)
        yield said
        return
    with caught:
        os.dup2(caught.fileno(), 2)
        try:
            yield said
        finally:
            os.dup2(kept, 2)
            caught.seek(0)
            # Damage is said to the caller; what is no decoder's line goes where it would have gone.
            for line in caught:
                if _REMARK.search(line):
                    continue
                if _COMPLAINT.search(line):
                    said.append(line.decode("utf-8", "replace").strip())
                else:
                    os.write(kept, line)
            os.close(kept)


def decode_with_warnings(
    decode: Callable[[T], R], images: Sequence[T], apply: Callable[..., Iterable[R]] = map
) -> list[tuple[R, str | None]]:
    """Decode images, each with what its decoder complained of.

    They are decoded together; only where something was said, once more one by one.

    Args:
        decode: makes something of one image; must bear to be called twice.
        apply: as `map`, which it may do in threads.

    Returns:
        What `decode` returned and the decoder's first line, or None, for each image in order.
    """
    with decoder_warnings() as said:
        made = list(apply(decode, images))
    return [_alone(decode, image) for image in images] if said else [(each, None) for each in made]


def _alone(decode: Callable[[T], R], image: T) -> tuple[R, str | None]:
    with decoder_warnings() as said:
        made = decode(image)
    return made, said[0] if said else None
