"""Says what a file of a source is that is not what its name says: a web page, an archive, a workbook, …

Used by `datasets.importers`; `pixels.file_kind` does the same for images.
"""

from pathlib import Path

from barbench.datasets.pixels.file_kind import file_kind

HEAD = 512  # bytes that tell what a file is

# What a file begins with, and what is to be said about it.
_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"\xd0\xcf\x11\xe0", "an Excel workbook of the old kind: save it as CSV (UTF-8)"),
    (b"\x1f\x8b", "compressed with gzip (.gz, .tgz): unpack it first"),
    (b"BZh", "compressed with bzip2: unpack it first"),
    (b"\xfd7zXZ\x00", "compressed with xz: unpack it first"),
    (b"(\xb5/\xfd", "compressed with zstd: unpack it first"),
    (b"7z\xbc\xaf'\x1c", "a 7z archive: unpack it first"),
    (b"Rar!", "a RAR archive: unpack it first"),
)
_TAR = b"ustar"  # from byte 257 on
_NO_DATA = ("an empty file", "a Git LFS pointer", "a web page", "a PDF")


def file_refusal(path: Path) -> str | None:
    """What a file is that cannot be read, as the rest of a sentence that begins "it is"; None for others, for a folder,
    and for what cannot be opened."""
    try:
        if path.is_dir():
            return None
        head = read_head(path)
    except OSError:
        return None
    for magic, reason in _MAGIC:
        if head.startswith(magic):
            return reason
    if head[257:262] == _TAR:
        return "a tar archive: unpack it first"
    kind = file_kind(head)
    return kind if kind is not None and kind.startswith(_NO_DATA) else None


def read_head(path: Path, count: int = HEAD) -> bytes:
    """The first bytes of a file."""
    with path.open("rb") as file:
        return file.read(count)


def begins_with_keys(path: Path, *keys: str) -> bool:
    """Whether all keys are in the first mebibyte of a file of JSON."""
    head = read_head(path, 1 << 20)
    return all(f'"{key}"'.encode() in head for key in keys)


def no_image(head: bytes) -> str:
    """The rest of a sentence about a file that should be an image."""
    kind = file_kind(head)
    return "is no image that can be read" + (f", it is {kind}" if kind else "")
