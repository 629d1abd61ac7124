"""How methods look in every drawing of the page, and what an axis says."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from barbench.reports.page.svg import INK, PAPER, color

COLORS: Final = 8
MARKERS: Final = {"o": 1.0, "s": 0.95, "^": 1.1, "D": 0.9, "v": 1.1, "P": 1.25, "X": 1.2}
"""Marker -> its size, so that all look equally large."""
DASHES: Final = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (6, 1.5, 1.5, 1.5)))


class Style(NamedTuple):
    """The look of one method: its place decides color, marker and dashes, so that no two of the first 56 agree. A
    place below 0 stands for all methods."""

    place: int

    @property
    def color(self) -> str:
        """A stand-in color of `svg.py`."""
        if self.place < 0:
            return INK
        return color("m", self.place % COLORS)

    @property
    def marker(self) -> str:
        """A key of MARKERS."""
        return list(MARKERS)[self.place % len(MARKERS)]

    def point(self, size: float) -> dict[str, Any]:
        """Keywords of `plot` for a marker of about `size` px."""
        return {
            "color": self.color,
            "marker": self.marker,
            "markersize": size * MARKERS[self.marker],
            "markeredgecolor": PAPER,
            "markeredgewidth": 0.08 * size,
        }

    @property
    def dashes(self) -> str | tuple[int, tuple[float, ...]]:
        """One of DASHES."""
        return DASHES[max(self.place, 0) // COLORS % len(DASHES)]


Styles = Mapping[str, Style]


@dataclass(frozen=True)
class Axis:
    """What an axis shows.

    Attributes:
        better: the end with good results, "low" or "high"; empty for neither.
    """

    label: str
    better: str = ""

    @property
    def text(self) -> str:
        """The label as printed."""
        if not self.better:
            return self.label
        better = "lower" if self.better == "low" else "higher"
        return f"{self.label} ({better} is better)"
