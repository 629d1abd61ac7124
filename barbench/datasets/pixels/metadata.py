"""Takes from a JPEG or PNG what says nothing of its pixels, before it is decoded.

Decoders remark on a color profile, an EXIF block, or a time that they do not like. Their lines look like those on
damaged pixels, and libjpeg prints the first alone: a remark would hide the damage that follows. Without these parts
every line that is left is about pixels.
"""

import struct
from collections.abc import Iterator
from typing import NamedTuple

JPEG_START, PNG_START = b"\xff\xd8", b"\x89PNG\r\n\x1a\n"

# Codes of a JPEG's segments (ITU T.81, table B.1).
_SCAN, _JFIF, _ADOBE, _COMMENT = 0xDA, 0xE0, 0xEE, 0xFE
_APPLICATIONS = range(0xE0, 0xF0)
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_ONE_PASS = (0xC0, 0xC1, 0xC9)
"""Frames whose scans hold whole blocks: sequential ones, as opposed to progressive."""
_WITHOUT_BODY = (0x01, *range(0xD0, 0xD8))
_WHOLE_BLOCKS = bytes((0, 63, 0))
"""What a sequential frame's scan says of the coefficients that it holds: all 64, at full precision."""


def without_metadata(data: bytes) -> bytes:
    """Take metadata out of a JPEG or a PNG, whole or damaged: it decodes to the same pixels, as stored. Other files
    stay as they are."""
    try:
        if data.startswith(JPEG_START):
            return _bare_jpeg(data)
        if data.startswith(PNG_START):
            return _bare_png(data)
    except (IndexError, struct.error):  # its end is missing: the decoder says so
        return data
    return data


def _bare_png(data: bytes) -> bytes:
    """Critical chunks alone: their names begin with a capital letter (PNG specification, 5.4)."""
    kept = [PNG_START]
    at = len(PNG_START)
    while at < len(data):
        (length,) = struct.unpack_from(">I", data, at)
        end = at + 12 + length
        # Capital letters lack this bit.
        if not data[at + 4] & 0x20:
            kept.append(data[at:end])
        at = end
        if kept[-1][4:8] == b"IEND":  # decoders read no further
            break
    return b"".join(kept)


class _Segment(NamedTuple):
    """A JPEG's segment: its code, what it holds, and where it ends in the file."""

    code: int
    body: bytes
    end: int


def _bare_jpeg(data: bytes) -> bytes:
    """The segments before the first scan that decoding needs, and everything from there on."""
    segments = list(_segments(data))
    frame = next((segment for segment in segments if segment.code in _FRAMES), None)
    if frame is None or segments[-1].code != _SCAN:
        return data
    components = frame.body[5]
    kept = [JPEG_START]
    # What decoders would complain of is left out or made what they know.
    for code, body, _ in segments:
        needed = body
        if code == _JFIF and body.startswith(b"JFIF\0"):
            needed = body[:5] + b"\1" + body[6:]  # the version, of which decoders know the first
        elif code == _ADOBE and body.startswith(b"Adobe"):
            needed = body[:11] + _color_transform(body[11], components) + body[12:]
        elif code in _APPLICATIONS or code == _COMMENT:
            continue
        elif code == _SCAN and frame.code in _ONE_PASS:
            needed = body[:-3] + _WHOLE_BLOCKS
        length = struct.pack(">H", len(needed) + 2)  # it counts its own two bytes
        kept.append(bytes((0xFF, code)) + length + needed)
    kept.append(data[segments[-1].end :])
    return b"".join(kept)


def _segments(data: bytes) -> Iterator[_Segment]:
    """The segments up to the first scan's; bytes between two of them are passed over, as decoders do."""
    at = len(JPEG_START)
    while True:
        # Fill bytes, and what lies between segments.
        while data[at] != 0xFF:
            at += 1
        while data[at] == 0xFF:
            at += 1
        code = data[at]
        at += 1
        if code == 0 or code in _WITHOUT_BODY:
            continue
        # The length counts its own two bytes.
        (length,) = struct.unpack_from(">H", data, at)
        end = at + length
        yield _Segment(code, data[at + 2 : end], end)
        at = end
        if code == _SCAN:
            return


def _color_transform(code: int, components: int) -> bytes:
    """Adobe's code of the color space; for one that is not known, what decoders take it for."""
    known = (0, 2) if components == 4 else (0, 1)
    return bytes((code if code in known else known[1],))
