"""A matplotlib figure as SVG for the inside of an HTML page: small, the same bytes every time, in the page's colours.

Figures are drawn in the stand-in colours below; in the SVG each becomes a CSS variable of the page, so that one drawing
serves light and dark. Text stays text, in the page's own font.
"""

import re
from collections.abc import Callable, Mapping
from functools import wraps
from io import BytesIO
from typing import Any, Final, ParamSpec
from xml.etree import ElementTree

import matplotlib as mpl
from matplotlib.figure import Figure

P = ParamSpec("P")
SVG: Final = "{http://www.w3.org/2000/svg}"
XLINK: Final = "{http://www.w3.org/1999/xlink}"
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
    saved.

    Args:
        draw: returns an `<svg>` element.

    Returns:
        The function that runs so.
    """

    @wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> str:
        with mpl.rc_context(RC):
            return draw(*args, **kwargs)

    return drawn


def colour(kind: str, index: int) -> str:
    """The stand-in for a variable of the page.

    Args:
        kind: `m` (method) or `p` (part of a stack).
        index: of the variable `--<kind><index>`.

    Returns:
        A colour as #rrggbb.
    """
    return f"#{'mp'.index(kind) + 2:02x}02{index:02x}"


def inline(figure: Figure, name: str, alt: str, tips: Mapping[str, str] | None = None) -> str:
    """A figure as an element for the inside of an HTML page.

    Args:
        figure: drawn inside `with_page_style`.
        name: tells its ids from those of other figures of the page.
        alt: what a screen reader says.
        tips: by gid of an artist, the text that shows when a pointer rests on it.

    Returns:
        One `<svg>` element as text.
    """
    buffer = BytesIO()
    with mpl.rc_context({"svg.hashsalt": name, **RC}):
        figure.savefig(buffer, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    svg = ElementTree.fromstring(buffer.getvalue())
    for element in svg.iter():
        element.tag = element.tag.removeprefix(SVG)
        element.attrib = {key.removeprefix(XLINK): _in_the_pages_terms(value) for key, value in element.items()}
    for parent in list(svg.iter()):
        for child in list(parent):
            # matplotlib's own style sheet and empty tables of definitions; the page has its own rules.
            if child.tag in ("metadata", "style") or (child.tag == "defs" and not any(d.tag != "style" for d in child)):
                parent.remove(child)
    for element in svg.iter():
        if tip := (tips or {}).get(element.get("id", "")):
            title = ElementTree.Element("title")
            title.text = tip
            element.insert(0, title)
    _drop_idle_ids(svg)
    svg.attrib = {"viewBox": svg.attrib["viewBox"], "role": "img", "aria-label": alt}
    for element in svg.iter():
        element.text = element.text if element.tag in ("text", "tspan", "title") else None
        element.tail = None
    return ElementTree.tostring(svg, encoding="unicode", short_empty_elements=True)


def _in_the_pages_terms(value: str) -> str:
    """An attribute with two decimals, the page's colours, and without a font of its own."""
    value = re.sub(r"(\d\.\d\d)\d+", r"\1", " ".join(value.split()))
    value = re.sub(r"font-family: [^;]*;? ?", "", value)
    for stand_in, variable in VARIABLES.items():
        value = value.replace(stand_in, f"var({variable})")
    return re.sub(r"#0([23])02([0-9a-f]{2})", lambda m: f"var(--{'mp'[int(m[1]) - 2]}{int(m[2], 16)})", value)


def _drop_idle_ids(svg: ElementTree.Element) -> None:
    """Remove ids that nothing in the same figure refers to, so that none occurs twice on a page."""
    values = " ".join(value for element in svg.iter() for key, value in element.items() if key != "id")
    for element in svg.iter():
        name = element.get("id")
        if name is not None and f"#{name}" not in values.replace(")", " ").split() and f"url(#{name})" not in values:
            del element.attrib["id"]
