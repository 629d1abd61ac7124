"""Draws qualitative panels (as Fig. 3 to 7) for `barbench panels`, and the sheet that `barbench predict` writes.

Columns are aligned, images keep their aspect ratio, and outlines are drawn twice, light over dark, so that they are
visible on any background.
"""

import io
import json
import math
import textwrap
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from pydantic import BaseModel, TypeAdapter

from barbench.files import write_atomically
from barbench.reports.thumbnails import small_mask
from barbench.results.qualitative import Found, Image, Mask, Panel

PANEL_LIST: Final = "panels.json"
"""The list of panels beside their pictures, which the HTML page reads."""
TRUTH: Final = "#00c2a8"
FOUND: Final = "#ff2d78"
_DPI: Final = 150
_TILE: Final = 2.1  # inches, the longer side of an image
_TEXT: Final = 0.19  # inches, a line of text
_GAP: Final = 0.08
_SLIMMEST: Final = 1.3  # inches, a column, so that the titles of slim images have room
_FINEST: Final = 1600  # pixels along a photo's longer side that are drawn
_OPAQUE: Final = 0.45  # of the color inside a mask
_FADED: Final = 0.6  # of the gray outside it
_ABREAST: Final = 5  # tiles in a row of a preview
_IN_A_ROW: Final = 3  # tiles of a sheet of `barbench predict`
WHY: Final = {
    "disagree": "the methods disagree most",
    "fail": "every method fails",
    "succeed": "every method succeeds",
    "random": "drawn at random",
    "chosen": "chosen",
}


class MethodScore(BaseModel):
    """One method in a panel; `iou` is a fraction, `mask` its mask as `thumbnails.small_mask` makes it."""

    title: str
    iou: float
    record: str = ""
    mask: str = ""


class PanelEntry(BaseModel):
    """One panel: the name of its file in the same folder; its title names data set, split, image and sentence."""

    file: str
    title: str = ""
    expression: str
    pick: str = ""
    column: tuple[str, str] = ("", "")
    sentence: int = 0
    methods: tuple[MethodScore, ...] = ()


def write_panels(panels: Sequence[Panel], out: Path) -> list[Path]:
    """Write one sheet per expression, one overview per pick, and `panels.json`, which lists the sheets."""
    paths = []
    entries = []
    # A sheet per expression, with what the page needs of it.
    for panel in panels:
        path = out / f"{panel.pick}-{panel.name}.png"
        write_atomically(path, _png(_sheet([panel])))
        paths.append(path)
        methods = []
        for overlay in panel.overlays:
            small = small_mask(overlay.mask, FOUND)
            methods.append(MethodScore(title=overlay.title, iou=overlay.iou, record=overlay.record, mask=small))
        entries.append(
            PanelEntry(
                file=path.name,
                title=panel.title,
                expression=panel.expression,
                pick=panel.pick,
                column=panel.column,
                sentence=panel.sentence,
                methods=tuple(methods),
            )
        )
    # An overview per pick.
    for pick in dict.fromkeys(panel.pick for panel in panels):
        path = out / f"overview-{pick}.png"
        picked = [panel for panel in panels if panel.pick == pick]
        write_atomically(path, _png(_sheet(picked, WHY[pick])))
        paths.append(path)
    # The list of sheets, in the order of the page.
    content = [entry.model_dump(mode="json") for entry in entries]
    text = json.dumps(content, indent=1, ensure_ascii=False)
    write_atomically(out / PANEL_LIST, text.encode() + b"\n")
    return [*paths, out / PANEL_LIST]


def read_panel_list(folder: Path) -> list[PanelEntry]:
    """The panels in order; none if there is no list. A list that cannot be used raises pydantic's ValidationError."""
    path = folder / PANEL_LIST
    if not path.is_file():
        return []
    return TypeAdapter(list[PanelEntry]).validate_json(path.read_bytes())


def write_found(photo: Image, found: Sequence[Found], path: Path) -> None:
    """Draw a photo, uint8 (H, W, 3) RGB, then one tile per expression with what was found in it, as a PNG."""
    height, width = photo.shape[:2]
    across = max(_box(photo, 1.6).width, _SLIMMEST)
    tiles = [_Tile(f"{width} x {height} pixels", photo, None, "0.35")]
    for each in found:
        expression = _wrapped(f'"{each.expression}"', across)
        score = "nothing found" if each.score is None else f"score {each.score:.2f}"
        caption = f"{expression}\n{100 * each.coverage:.1f} % of the photo, {score}"
        tiles.append(_Tile(caption, photo, each.mask, "black"))
    _write_grid(tiles, _IN_A_ROW, across, 1.6, FOUND, path)


class Tile(NamedTuple):
    """An image with its mask, for `write_tiles`.

    Attributes:
        image: uint8 (H, W, 3) RGB.
        mask: boolean (H, W).
        expression: above the image.
        detail: a second line, in gray.
    """

    image: Image
    mask: Mask
    expression: str
    detail: str


def write_tiles(tiles: Sequence[Tile], path: Path) -> None:
    """Draw images with their masks, _ABREAST in a row, as a PNG."""
    shown = []
    for tile in tiles:
        caption = f"{_wrapped(tile.expression, _TILE)}\n{_wrapped(tile.detail, _TILE, 7)}"
        shown.append(_Tile(caption, tile.image, tile.mask, "black"))
    _write_grid(shown, _ABREAST, _TILE, 1.0, TRUTH, path)


class _Tile(NamedTuple):
    """An image under its caption, with a mask or without one."""

    caption: str
    image: Image
    mask: Mask | None
    ink: str


def _write_grid(tiles: Sequence[_Tile], abreast: int, width: float, scale: float, color: str, path: Path) -> None:
    """Draw tiles in rows of `abreast`, each column `width` inches wide, as a PNG."""
    boxes = [_box(tile.image, scale) for tile in tiles]
    # Every tile has space for the longest caption and the highest image.
    lines = max(tile.caption.count("\n") for tile in tiles)
    text = _TEXT * (lines + 1.2)
    height = max(box.height for box in boxes) + text + _GAP
    columns = min(len(tiles), abreast)
    rows = math.ceil(len(tiles) / columns)
    figure = _figure(_across(columns, width), rows * height)
    for number, (tile, box) in enumerate(zip(tiles, boxes, strict=True)):
        row, column = divmod(number, columns)
        axes = _axes(figure, _left(column, width, box), row * height + text, box)
        # An image with more pixels than are visible is thinned out.
        step = math.ceil(max(tile.image.shape[:2]) / _FINEST)
        thinned = tile.image[::step, ::step]
        mask = None if tile.mask is None else tile.mask[::step, ::step]
        _draw(axes, thinned, mask, color)
        _caption(axes, tile)
    write_atomically(path, _png(figure))


def overlaid(image: Image, mask: Mask, color: str) -> Image:
    """Fill a mask (H, W) with a color, as matplotlib names it, and fade the rest to gray: uint8 (H, W, 3) RGB."""
    pixels = image.astype(np.float32)
    # Outside: toward a light gray, by the weights of ITU-R BT.601.
    luma = np.array([0.299, 0.587, 0.114], np.float32)
    gray = (pixels @ luma)[..., None]
    outside = (1 - _FADED) * pixels + _FADED * (0.75 * gray + 50)
    # Inside: toward the color.
    filling = 255 * np.array(to_rgb(color), np.float32)
    inside = (1 - _OPAQUE) * pixels + _OPAQUE * filling
    mixed = np.where(mask[..., None], inside, outside)
    return mixed.clip(0, 255).astype(np.uint8)


class _Box(NamedTuple):
    """The size of a drawn image, in inches."""

    width: float
    height: float


class _Row(NamedTuple):
    """A panel of a sheet, with its wrapped expression; `text` is the height above its images, in inches."""

    panel: Panel
    expression: str
    box: _Box
    text: float


def _sheet(panels: Sequence[Panel], heading: str = "") -> Figure:
    """One row per panel, under its expression: image, object, and each method with its IoU."""
    boxes = [_box(panel.image) for panel in panels]
    # All rows have the columns of the widest image and of the panel with most methods.
    width = max(_SLIMMEST, *(box.width for box in boxes))
    columns = max(len(panel.overlays) for panel in panels) + 2
    across = _across(columns, width)
    rows = []
    for panel, box in zip(panels, boxes, strict=True):
        expression = _wrapped(f'"{panel.expression}"', across, size=10)
        text = _TEXT * (1.1 * (expression.count("\n") + 1) + 2.3)
        rows.append(_Row(panel, expression, box, text))
    top = 2 * _TEXT if heading else 0.0
    heights = sum(row.text + row.box.height + _GAP for row in rows)
    figure = _figure(across, top + heights + _GAP)
    if heading:
        _write(figure, heading, _GAP, 0.5 * _TEXT, fontsize=12, fontweight="bold")
    for row in rows:
        _draw_row(figure, row, top, width)
        top += row.text + row.box.height + _GAP
    return figure


def _draw_row(figure: Figure, row: _Row, top: float, width: float) -> None:
    panel = row.panel
    _write(figure, row.expression, _GAP, top + 0.4 * _TEXT, fontsize=10, fontweight="bold")
    _write(figure, panel.title, _GAP, top + row.text - 1.95 * _TEXT, fontsize=7, color="0.4")
    # The image, the object in the color of its caption, and what each method found.
    tiles = [_Tile("image", panel.image, None, "black"), _Tile("ground truth", panel.image, panel.truth, TRUTH)]
    for overlay in panel.overlays:
        caption = f"{overlay.title}  IoU {100 * overlay.iou:.0f}"
        tiles.append(_Tile(caption, panel.image, overlay.mask, "black"))
    for column, tile in enumerate(tiles):
        left = _left(column, width, row.box)
        axes = _axes(figure, left, top + row.text, row.box)
        color = TRUTH if tile.ink == TRUTH else FOUND
        _draw(axes, tile.image, tile.mask, color)
        _caption(axes, tile)


def _draw(axes: Axes, image: Image, mask: Mask | None, color: str) -> None:
    shown = image if mask is None else overlaid(image, mask, color)
    axes.imshow(shown, interpolation="antialiased")
    if mask is None or not mask.any() or mask.all():
        return
    # A border of background, so that outlines close at the edge of the image.
    framed = np.pad(mask, 1).astype(float)
    height, width = mask.shape
    x = np.arange(-1, width + 1)
    y = np.arange(-1, height + 1)
    axes.contour(x, y, framed, [0.5], colors=["black"], linewidths=[2.2], alpha=0.6)
    axes.contour(x, y, framed, [0.5], colors=[color], linewidths=[1.3])
    axes.set_xlim(-0.5, width - 0.5)
    axes.set_ylim(height - 0.5, -0.5)


def _box(image: Image, scale: float = 1.0) -> _Box:
    """The size at which an image is drawn, its longer side _TILE times `scale`."""
    height, width = image.shape[:2]
    inches = scale * _TILE / max(height, width)
    return _Box(width * inches, height * inches)


def _across(columns: int, width: float) -> float:
    """The width of columns with the gaps around them, in inches."""
    return columns * (width + _GAP) + _GAP


def _left(column: int, width: float, box: _Box) -> float:
    """Where an image begins that is centered in a column, in inches."""
    return _across(column, width) + (width - box.width) / 2


def _figure(width: float, height: float) -> Figure:
    return Figure(figsize=(width, height), dpi=_DPI, facecolor="white")


def _axes(figure: Figure, left: float, top: float, box: _Box) -> Axes:
    """Axes of the size of `box`, at a position in inches from the figure's upper left corner."""
    across, down = figure.get_size_inches()
    bottom = down - top - box.height
    axes = figure.add_axes((left / across, bottom / down, box.width / across, box.height / down))
    axes.set_axis_off()
    return axes


def _caption(axes: Axes, tile: _Tile) -> None:
    axes.set_title(tile.caption, fontsize=8, pad=3, color=tile.ink, parse_math=False)


def _write(figure: Figure, text: str, left: float, top: float, **style: Any) -> None:
    across, down = figure.get_size_inches()
    figure.text(left / across, 1 - top / down, text, va="top", parse_math=False, **style)


def _wrapped(text: str, inches: float, size: int = 8) -> str:
    """Lines no wider than `inches` in a font of `size` points (a letter is about 0.58 of that wide)."""
    letters = max(12, int(inches * 72 / (0.58 * size)))
    lines = textwrap.wrap(text, letters)
    return "\n".join(lines) or text


def _png(figure: Figure) -> bytes:
    content = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # drawn as boxes; the terminal has the words
        figure.savefig(content, format="png", metadata={"Software": None})
    return content.getvalue()
