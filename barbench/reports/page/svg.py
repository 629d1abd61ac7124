"""A matplotlib figure as SVG for the inside of an HTML page: small, the same bytes every time, in the page's colors.

Figures are drawn in the stand-in colors below; in the SVG each becomes a CSS variable of the page, so that one drawing
serves light and dark. Text stays text, in the page's own font.
"""

import re
from collections.abc import Callable, Mapping
from functools import wraps
from io import BytesIO
from typing import Any, Final, Literal, NamedTuple, ParamSpec
from xml.etree import ElementTree
from zlib import crc32

import matplotlib as mpl
from matplotlib.artist import Artist
from matplotlib.container import Container
from matplotlib.figure import Figure

P = ParamSpec("P")
SVG: Final = "{http://www.w3.org/2000/svg}"
XLINK: Final = "{http://www.w3.org/1999/xlink}"
KINDS: Final = "mp"
INK: Final = "#010203"
MUTED: Final = "#010204"
GRID: Final = "#010205"
PAPER: Final = "#010206"
VARIABLES: Final = {INK: "--ink", MUTED: "--muted", GRID: "--grid", PAPER: "--paper"}

RC: Final[dict[Any, Any]] = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": 9,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.facecolor": "none",
    "axes.unicode_minus": True,
    "figure.facecolor": "none",
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.size": 3,
    "ytick.major.size": 0,
    "xtick.minor.size": 0,
    "lines.linewidth": 1.8,
    "lines.solid_capstyle": "round",
}


def with_page_style(draw: Callable[P, str]) -> Callable[P, str]:
    """Run a drawing function under RC: some settings are read when artists are created, others when the figure is
    saved."""

    @wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> str:
        with mpl.rc_context(RC):
            return draw(*args, **kwargs)

    return drawn


def color(kind: Literal["m", "p"], index: int) -> str:
    """The stand-in, as #rrggbb, for the page's variable `--<kind><index>`: of a method or of a part of a stack."""
    return f"#{KINDS.index(kind) + 2:02x}02{index:02x}"


class Mark(NamedTuple):
    """Whose mark an artist is, and the text that shows when a pointer rests on it; either may be empty."""

    label: str
    tip: str


class Marks:
    """The artists of a drawing that a reader can point at, or hide by the legend."""

    def __init__(self) -> None:
        self.by_id: dict[str, Mark] = {}

    def add(self, artist: Artist | Container, label: str, tip: str) -> None:
        """Tell an artist, or all of a container such as a bar with its ends, that it is a mark."""
        parts = artist.get_children() if isinstance(artist, Container) else [artist]
        for part in parts:
            name = f"mark{len(self.by_id)}"
            part.set_gid(name)
            self.by_id[name] = Mark(label, tip)


def mark_key(label: str) -> str:
    """What the marks of a label have in common on the page, as `data-mark`."""
    return f"{crc32(label.encode()):08x}"


def inline(figure: Figure, name: str, alt: str, marks: Marks | None = None) -> str:
    """A figure as an `<svg>` element for the inside of an HTML page.

    Args:
        figure: drawn inside `with_page_style`.
        name: of the drawing; it makes its ids differ from those of other drawings of the page.
        alt: what a screen reader says.
        marks: artists that can be pointed at or hidden; None for none.
    """
    buffer = BytesIO()
    metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with mpl.rc_context({"svg.hashsalt": name, **RC}):
        figure.savefig(buffer, format="svg", metadata=metadata)
    svg = ElementTree.fromstring(buffer.getvalue())
    # HTML knows neither of the namespaces, and has its own colors.
    for element in svg.iter():
        element.tag = element.tag.removeprefix(SVG)
        element.attrib = {key.removeprefix(XLINK): _to_css_variables(value) for key, value in element.items()}
    _remove_style_sheets(svg)
    if marks:
        _add_marks(svg, marks.by_id)
    _remove_unused_ids(svg)
    svg.attrib = {"viewBox": svg.attrib["viewBox"], "role": "img", "aria-label": alt}
    # Between elements there is only the indentation.
    for element in svg.iter():
        if element.tag not in ("text", "tspan", "title"):
            element.text = None
        element.tail = None
    return ElementTree.tostring(svg, encoding="unicode", short_empty_elements=True)


def _to_css_variables(value: str) -> str:
    """An attribute with two decimals, the page's variables for stand-in colors, and without a font."""
    value = " ".join(value.split())
    value = re.sub(r"(\d\.\d\d)\d+", r"\1", value)
    value = re.sub(r"font-family: [^;]*;? ?", "", value)
    for stand_in, variable in VARIABLES.items():
        value = value.replace(stand_in, f"var({variable})")
    return re.sub(r"#0([23])02([0-9a-f]{2})", _variable, value)


def _variable(match: re.Match[str]) -> str:
    """The variable of a stand-in that `color` made."""
    kind = KINDS[int(match[1]) - 2]
    return f"var(--{kind}{int(match[2], 16)})"


def _remove_style_sheets(svg: ElementTree.Element) -> None:
    """Remove matplotlib's style sheet and empty tables of definitions; the page has its own rules."""
    for parent in list(svg.iter()):
        for child in list(parent):
            no_definition = child.tag == "defs" and all(each.tag == "style" for each in child)
            if child.tag in ("metadata", "style") or no_definition:
                parent.remove(child)


def _add_marks(svg: ElementTree.Element, marks: Mapping[str, Mark]) -> None:
    for element in svg.iter():
        mark = marks.get(element.get("id", ""))
        if mark is None:
            continue
        if mark.label:
            element.set("data-mark", mark_key(mark.label))
        if mark.tip:
            title = ElementTree.Element("title")
            title.text = mark.tip
            element.insert(0, title)


def _remove_unused_ids(svg: ElementTree.Element) -> None:
    """Remove ids that nothing in the same figure refers to, so that none occurs twice on a page."""
    used = set()
    for element in svg.iter():
        for key, value in element.items():
            if key != "id":
                used.update(re.findall(r"#([^\s)]+)", value))
    for element in svg.iter():
        name = element.get("id")
        if name is not None and name not in used:
            del element.attrib["id"]
