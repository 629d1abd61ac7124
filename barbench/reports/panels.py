"""Draws qualitative panels (as Fig. 3 to 7) for `barbench panels`, and the sheet that `barbench predict` writes.

Columns are aligned, images keep their aspect ratio, and outlines are drawn twice, light over dark, so that they are
visible on any background.
"""

import io
import textwrap
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from barbench.files import write_atomically
from barbench.reports.panel_list import MethodScore, PanelEntry, write_panel_list
from barbench.results.qualitative import Found, Image, Mask, Panel

TRUTH, FOUND = "#00c2a8", "#ff2d78"
_DPI: Final = 150
_TILE: Final = 2.1  # inches, the longer side of an image
_TEXT: Final = 0.19  # inches, a line of text
_GAP: Final = 0.08
_SLIMMEST: Final = 1.3  # inches, a column, so that the titles of slim images have room
_FINEST: Final = 1600  # pixels along a photo's longer side that are drawn
_OPAQUE, _FADED = 0.45, 0.6  # of the fill inside a mask, and of gray outside it
WHY: Final = {
    "disagree": "the methods disagree most",
    "fail": "every method fails",
    "succeed": "every method succeeds",
    "random": "drawn at random",
    "chosen": "chosen",
}


def write_panels(panels: Sequence[Panel], out: Path) -> list[Path]:
    """Write one sheet per expression, one overview per pick, and `panels.json`, which lists the sheets.

    Args:
        panels: what to draw.
        out: folder to write into.

    Returns:
        All files.
    """
    paths, entries = [], []
    for panel in panels:
        path = out / f"{panel.pick}-{panel.name}.png"
        write_atomically(path, _png(_grid([panel])))
        paths.append(path)
        methods = tuple(MethodScore(title=overlay.title, iou=overlay.iou) for overlay in panel.overlays)
        told = {"title": panel.title, "expression": panel.expression, "pick": panel.pick}
        entries.append(PanelEntry(file=path.name, methods=methods, **told))
    for how in dict.fromkeys(panel.pick for panel in panels):
        path = out / f"overview-{how}.png"
        write_atomically(path, _png(_grid([panel for panel in panels if panel.pick == how], WHY[how])))
        paths.append(path)
    return [*paths, write_panel_list(out, entries)]


def write_found(photo: Image, found: Sequence[Found], path: Path) -> None:
    """Draw a photo, then one tile per expression, up to three in a row.

    Args:
        photo: uint8 (H, W, 3) RGB.
        found: what was found in it.
        path: the PNG to write.
    """
    step = -(-max(photo.shape[:2]) // _FINEST)
    columns = min(len(found) + 1, 3)
    rows = -(-(len(found) + 1) // columns)
    box = _box(photo, 1.6)
    width, height = max(box[0], _SLIMMEST), box[1]
    captions = [_wrapped(f'"{each.expression}"', width) for each in found]
    text = _TEXT * (max(caption.count("\n") for caption in captions) + 2.2)
    figure = _figure(columns * (width + _GAP) + _GAP, rows * (height + text + _GAP))
    for number in range(len(found) + 1):
        row, column = divmod(number, columns)
        top = row * (height + text + _GAP) + text
        axes = _tile(figure, _GAP + column * (width + _GAP) + (width - box[0]) / 2, top, *box)
        if number == 0:
            _draw(axes, photo[::step, ::step], None, FOUND)
            _caption(axes, f"{photo.shape[1]} x {photo.shape[0]} pixels", "0.35")
            continue
        each = found[number - 1]
        _draw(axes, photo[::step, ::step], each.mask[::step, ::step], FOUND)
        score = f"score {each.score:.2f}" if each.score is not None else "nothing found"
        _caption(axes, f"{captions[number - 1]}\n{100 * each.coverage:.1f} % of the photo, {score}")
    write_atomically(path, _png(figure))


def overlaid(image: Image, mask: Mask, color: str) -> Image:
    """Fill a mask with a color, and fade the rest to gray.

    Args:
        image: uint8 (H, W, 3) RGB.
        mask: boolean (H, W).
        color: as matplotlib names it.

    Returns:
        uint8 (H, W, 3) RGB.
    """
    pixels = image.astype(np.float32)
    gray = pixels @ np.array([0.299, 0.587, 0.114], np.float32)
    outside = (1 - _FADED) * pixels + _FADED * (0.75 * gray[..., None] + 50)
    inside = (1 - _OPAQUE) * pixels + _OPAQUE * 255 * np.array(to_rgb(color), np.float32)
    return np.where(mask[..., None], inside, outside).clip(0, 255).astype(np.uint8)


def _grid(panels: Sequence[Panel], heading: str = "") -> Figure:
    """One row per panel, under its expression: image, object, and each method with its IoU."""
    boxes = [_box(panel.image) for panel in panels]
    width = max(_SLIMMEST, *(box[0] for box in boxes))
    columns = max(len(panel.overlays) for panel in panels) + 2
    across = columns * (width + _GAP) + _GAP
    captions = [_wrapped(f'"{panel.expression}"', across, size=10) for panel in panels]
    texts = [_TEXT * (1.1 * (caption.count("\n") + 1) + 2.3) for caption in captions]
    begin = 2 * _TEXT if heading else 0.0
    heights = [text + box[1] + _GAP for text, box in zip(texts, boxes, strict=True)]
    figure = _figure(across, begin + sum(heights) + _GAP)
    if heading:
        _write(figure, heading, _GAP, 0.5 * _TEXT, fontsize=12, fontweight="bold")
    for panel, caption, text, box, height in zip(panels, captions, texts, boxes, heights, strict=True):
        _write(figure, caption, _GAP, begin + 0.4 * _TEXT, fontsize=10, fontweight="bold")
        _write(figure, panel.title, _GAP, begin + text - 1.95 * _TEXT, fontsize=7, color="0.4")
        tiles: list[tuple[str, Mask | None, str]] = [("image", None, TRUTH), ("ground truth", panel.truth, TRUTH)]
        tiles += [(f"{each.title}  IoU {100 * each.iou:.0f}", each.mask, FOUND) for each in panel.overlays]
        for column, (title, mask, color) in enumerate(tiles):
            left = _GAP + column * (width + _GAP) + (width - box[0]) / 2
            axes = _tile(figure, left, begin + text, *box)
            _draw(axes, panel.image, mask, color)
            _caption(axes, title, color if column == 1 else "black")
        begin += height
    return figure


def _draw(axes: Axes, image: Image, mask: Mask | None, color: str) -> None:
    axes.imshow(image if mask is None else overlaid(image, mask, color), interpolation="antialiased")
    if mask is not None and mask.any() and not mask.all():
        framed = np.pad(mask, 1).astype(float)  # so that outlines close at the border
        height, width = mask.shape
        grid = np.arange(-1, width + 1), np.arange(-1, height + 1)
        axes.contour(*grid, framed, [0.5], colors=["black"], linewidths=[2.2], alpha=0.6)
        axes.contour(*grid, framed, [0.5], colors=[color], linewidths=[1.3])
        axes.set_xlim(-0.5, width - 0.5)
        axes.set_ylim(height - 0.5, -0.5)


def _box(image: Image, scale: float = 1.0) -> tuple[float, float]:
    """Width and height of an image in inches, its longer side _TILE times `scale`."""
    height, width = image.shape[:2]
    inches = scale * _TILE / max(height, width)
    return width * inches, height * inches


def _figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), dpi=_DPI, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def _tile(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Axes at a place in inches from the figure's upper left corner."""
    across, down = figure.get_size_inches()
    axes = figure.add_axes((left / across, 1 - (top + height) / down, width / across, height / down))
    axes.set_axis_off()
    return axes


def _caption(axes: Axes, text: str, color: str = "black") -> None:
    axes.set_title(text, fontsize=8, pad=3, color=color, parse_math=False)


def _write(figure: Figure, text: str, left: float, top: float, **style: Any) -> None:
    across, down = figure.get_size_inches()
    figure.text(left / across, 1 - top / down, text, va="top", parse_math=False, **style)


def _wrapped(text: str, inches: float, size: int = 8) -> str:
    """Lines no wider than `inches` in a font of `size` points (a letter is about 0.58 of that wide)."""
    letters = max(12, int(inches * 72 / (0.58 * size)))
    return "\n".join(textwrap.wrap(text, letters, break_long_words=True)) or text


def _png(figure: Figure) -> bytes:
    content = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # drawn as boxes; the terminal has the words
        figure.savefig(content, format="png", metadata={"Software": None})
    return content.getvalue()
