"""A matplotlib figure as SVG for the inside of an HTML page: small, the same bytes every time, coloured by the page.

Figures are drawn in the stand-in colours below; in the SVG each becomes a CSS variable of the page, so that one drawing
serves light and dark. Text stays text, in the page's own font.
"""

import re
from collections.abc import Callable, Mapping
from functools import wraps
from html import escape
from io import BytesIO
from typing import Any, Final, ParamSpec

import matplotlib as mpl
from matplotlib.figure import Figure

P = ParamSpec("P")
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


def in_the_pages_look(draw: Callable[P, str]) -> Callable[P, str]:
    """For functions that draw: matplotlib takes defaults when a thing is made, and others when it is written."""

    @wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> str:
        with mpl.rc_context(RC):
            return draw(*args, **kwargs)

    return drawn


def colour(kind: str, index: int) -> str:
    """The stand-in of the page's variable `--<kind><index>`; `kind` is `m` (method) or `p` (part of a stack)."""
    return f"#{'mp'.index(kind) + 2:02x}02{index:02x}"


def inline(figure: Figure, name: str, alt: str, tips: Mapping[str, str] | None = None) -> str:
    """`figure` as an `<svg>` element. `name` tells its ids from those of other figures of the page, `alt` is what a
    screen reader says, `tips` maps gids of artists to the texts that show when a pointer rests on them.
    """
    buffer = BytesIO()
    with mpl.rc_context({"svg.hashsalt": name, **RC}):
        figure.savefig(buffer, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    text = buffer.getvalue().decode()
    text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->|<defs>\s*</defs>", "", text, flags=re.DOTALL)
    for gid, tip in (tips or {}).items():
        text = text.replace(f'<g id="{gid}">', f"<g><title>{escape(tip)}</title>")
    text = _without_idle_ids(re.sub(r"<[^>]*>", _tidied, text))
    view, body = re.findall(r'<svg[^>]*viewBox="([^"]*)"[^>]*>(.*)</svg>', text, re.DOTALL)[0]
    body = re.sub(r">\s*\n\s*<", "><", body).strip()
    return f'<svg viewBox="{view}" role="img" aria-label="{escape(alt)}">{body}</svg>'


def _tidied(tag: re.Match[str]) -> str:
    """One tag with short numbers, the page's colours and font, and no line break."""
    text = re.sub(r"(\d\.\d\d)\d+", r"\1", tag[0])
    text = re.sub(r"font-family: [^;\"]*;? ?| transform=\"rotate\(-0 [^\"]*\"", "", text)
    text = re.sub(r" ?\n", " ", text)
    for stand_in, variable in VARIABLES.items():
        text = text.replace(stand_in, f"var({variable})")
    return re.sub(r"#0([23])02([0-9a-f]{2})", lambda m: f"var(--{'mp'[int(m[1]) - 2]}{int(m[2], 16)})", text)


def _without_idle_ids(text: str) -> str:
    """Ids stay only where something of the same figure refers to them, so that none occurs twice on a page."""
    used = {"".join(pair) for pair in re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', text)}
    return re.sub(r'<([^>]*?) id="([^"]*)"', lambda m: m[0] if m[2] in used else f"<{m[1]}", text)
