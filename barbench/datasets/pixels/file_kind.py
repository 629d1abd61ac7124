"""Says what a file is that is no image barbench reads, from its first bytes."""

_BRANDS = {
    b"heic": "a HEIC photo",
    b"heix": "a HEIC photo",
    b"heim": "a HEIC photo",
    b"heis": "a HEIC photo",
    b"hevc": "a HEIC photo",
    b"mif1": "a HEIC photo",
    b"msf1": "a HEIC photo",
    b"avif": "an AVIF image",
    b"avis": "an AVIF image",
    b"crx ": "a raw photo of a camera",
}
"""Of ISO's container, whose other brands are videos."""
_STARTS = {
    b"\xff\xd8\xff": "a JPEG",
    b"\x89PNG": "a PNG",
    b"GIF8": "a GIF",
    b"BM": "a BMP",
    b"II*\0": "a TIFF, or a camera's raw photo",
    b"MM\0*": "a TIFF, or a camera's raw photo",
    b"IIU\0": "a raw photo of a camera",
    b"FUJIFILMCCD-RAW": "a raw photo of a camera",
    b"\xff\x0a": "a JPEG XL image",
    b"\0\0\0\x0cJXL ": "a JPEG XL image",
    b"\0\0\0\x0cjP  ": "a JPEG 2000 image",
    b"8BPS": "a Photoshop file",
    b"%PDF": "a PDF",
    b"PK\x03\x04": "a zip archive",
    b"\x1aE\xdf\xa3": "a video",
    b"\x93NUMPY": "a numpy array",
    b"version https://git-lfs": "a Git LFS pointer: fetch the file itself with `git lfs pull`",
    b"<svg": "an SVG drawing",
    b"<": "a web page or XML",
}
_ADVICE = {
    "a HEIC photo": "save it as JPEG (telephones: camera format `Most compatible`; here: `heif-convert`)",
    "an AVIF image": "save it as JPEG or PNG",
}


def file_kind(start: bytes) -> str | None:
    """What a file holds by its first 64 bytes or more: a noun with its article, and what to do where that helps; None
    where it is not known."""
    if not start:
        return "an empty file"
    kind = None
    # Containers name their content behind their own mark.
    if start[4:8] == b"ftyp":
        kind = _BRANDS.get(start[8:12], "a video")
    elif start.startswith(b"RIFF"):
        kind = "a WebP image" if start[8:12] == b"WEBP" else "a sound or video file"
    else:
        text = start.lstrip() if start[:1].isspace() else start
        kind = next((name for begin, name in _STARTS.items() if text.startswith(begin)), None)
    if kind in _ADVICE:
        return f"{kind}: {_ADVICE[kind]}"
    return kind
