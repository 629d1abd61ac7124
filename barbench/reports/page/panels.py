"""Embeds the panels of `barbench panels` in a page, small enough for the space that the page has left."""

from base64 import b64encode
from io import BytesIO
from pathlib import Path
from typing import Final, NamedTuple

from PIL import Image, UnidentifiedImageError
from pydantic import ValidationError

from barbench.reports.panels import PANEL_LIST, PanelEntry, read_panel_list
from barbench.spec.text import explain

SIZES: Final = ((1400, 82), (1100, 76), (900, 70), (700, 60), (500, 50))
"""Longest side in pixels and WebP quality, tried in this order."""


class Embedded(NamedTuple):
    """An image as a data URI, with its size in pixels."""

    panel: PanelEntry
    uri: str
    width: int
    height: int


class EmbeddedPanels(NamedTuple):
    """The panels that fit, and one line for each that does not fit or cannot be read."""

    shown: tuple[Embedded, ...]
    problems: tuple[str, ...]


def embed_panels(folder: Path, room: int) -> EmbeddedPanels:
    """Embed the panels that `panels.json` in `folder` lists, if it exists, as WebP in at most `room` bytes of base64.

    All are made smaller before any is left out.
    """
    try:
        panels = read_panel_list(folder)
    except ValidationError as error:
        return EmbeddedPanels((), (f"{PANEL_LIST} cannot be used: {explain(error, 'file')}",))
    # Those that can be opened.
    images = []
    problems = []
    for panel in panels:
        try:
            images.append((panel, _opened(folder / Path(panel.file).name)))
        except (OSError, UnidentifiedImageError, Image.DecompressionBombError, ValueError) as error:
            problems.append(f"{panel.file} cannot be shown: {error}")
    # The largest size at which all fit; at the smallest, the last ones are left out.
    for side, quality in SIZES:
        shown = [_embedded(panel, image, side, quality) for panel, image in images]
        if _bytes(shown) <= room:
            break
    while shown and _bytes(shown) > room:
        problems.append(f"{shown.pop().panel.file} is left out: the page would be too large")
    return EmbeddedPanels(tuple(shown), tuple(problems))


def _bytes(shown: list[Embedded]) -> int:
    return sum(len(each.uri) for each in shown)


def _opened(path: Path) -> Image.Image:
    with Image.open(path) as image:
        return image.convert("RGB")


def _embedded(panel: PanelEntry, image: Image.Image, side: int, quality: int) -> Embedded:
    small = image.copy()
    small.thumbnail((side, side))
    buffer = BytesIO()
    small.save(buffer, "WEBP", quality=quality, method=4)
    encoded = b64encode(buffer.getvalue()).decode()
    return Embedded(panel, f"data:image/webp;base64,{encoded}", *small.size)
