"""Pictures for the inside of a page: the panels of `barbench panels`, small enough for what the page has left."""

from base64 import b64encode
from io import BytesIO
from pathlib import Path
from typing import Final, NamedTuple

from PIL import Image, UnidentifiedImageError
from pydantic import BaseModel, TypeAdapter, ValidationError

SIZES: Final = ((1400, 82), (1100, 76), (900, 70), (700, 60), (500, 50))
"""Longest side in pixels and WebP quality, tried in this order."""


class MethodScore(BaseModel):
    """What a panel says of one method; `iou` is a fraction."""

    title: str
    iou: float


class Panel(BaseModel):
    """One entry of `panels.json`: a picture in the same folder, and what is in it."""

    file: str
    title: str = ""
    expression: str
    pick: str = ""
    methods: tuple[MethodScore, ...] = ()


class Embedded(NamedTuple):
    """`uri` is the picture itself; `width` and `height` are its pixels."""

    panel: Panel
    uri: str
    width: int
    height: int


class Panels(NamedTuple):
    """The panels that fit, and a line for each that does not or cannot be read."""

    shown: tuple[Embedded, ...]
    problems: tuple[str, ...]


def embed_panels(folder: Path, room: int) -> Panels:
    """The panels that `folder`/panels.json lists, as WebP in at most `room` bytes of base64; nothing without that file.

    All are made smaller before any is left out.
    """
    listing = folder / "panels.json"
    if not listing.is_file():
        return Panels((), ())
    try:
        panels = TypeAdapter(list[Panel]).validate_json(listing.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "file"
        return Panels((), (f"{listing.name} cannot be used: {where}: {first['msg']}",))
    pictures, problems = [], []
    for panel in panels:
        try:
            pictures.append((panel, _opened(folder / Path(panel.file).name)))
        except (OSError, UnidentifiedImageError, Image.DecompressionBombError, ValueError) as error:
            problems.append(f"{panel.file} cannot be shown: {error}")
    for side, quality in SIZES:
        shown = [_embedded(panel, picture, side, quality) for panel, picture in pictures]
        if sum(len(each.uri) for each in shown) <= room:
            return Panels(tuple(shown), tuple(problems))
    while shown and sum(len(each.uri) for each in shown) > room:
        problems.append(f"{shown.pop().panel.file} is left out: the page would be too large")
    return Panels(tuple(shown), tuple(problems))


def _opened(path: Path) -> Image.Image:
    with Image.open(path) as picture:
        return picture.convert("RGB")


def _embedded(panel: Panel, picture: Image.Image, side: int, quality: int) -> Embedded:
    small = picture.copy()
    small.thumbnail((side, side))
    buffer = BytesIO()
    small.save(buffer, "WEBP", quality=quality, method=4)
    return Embedded(panel, f"data:image/webp;base64,{b64encode(buffer.getvalue()).decode()}", *small.size)
