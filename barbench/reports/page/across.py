"""The page's section of evaluations on other data: each matrix as a table, and as a heat map."""

from pathlib import Path
from typing import NamedTuple

from matplotlib.patches import Rectangle

from barbench.reports.page.plots import empty_figure
from barbench.reports.page.svg import INK, MUTED, color, inline, with_page_style
from barbench.reports.tables.across import Matrix, across_table, matrices
from barbench.reports.tables.table import Table

_WIDTH = 58
_HEIGHT = 26


class AcrossPart(NamedTuple):
    """A matrix as a table and as a drawing."""

    table: Table
    svg: str


def across_parts(folder: Path) -> list[AcrossPart]:
    """Of each matrix of a results folder; [] without evaluations."""
    parts = []
    for number, matrix in enumerate(matrices(folder)):
        parts.append(AcrossPart(across_table(matrix), heat_map(matrix, f"across{number}")))
    return parts


@with_page_style
def heat_map(matrix: Matrix, name: str) -> str:
    """A tile per training set and split, the darker the higher the score, which is written in it; a frame around the
    tiles of splits of which images trained the model; `name` is the drawing's own on the page."""
    # Space for the longest name of a row, and a tile per score.
    left = 8 + 7 * max(len(row) for row in matrix.rows)
    width = left + _WIDTH * len(matrix.columns) + 12
    height = 34 + 24 + _HEIGHT * len(matrix.rows)
    figure, axes = empty_figure(width, height, left, 34)
    highest = max(score.mean for score in matrix.scores.values()) or 1.0
    for down, row in enumerate(matrix.rows):
        for across, column in enumerate(matrix.columns):
            score = matrix.scores.get((row, column))
            if score is None:
                continue
            # A tile, its frame and its number.
            corner = (across - 0.48, down - 0.46)
            shade = 0.08 + 0.62 * score.mean / highest
            axes.add_patch(Rectangle(corner, 0.96, 0.92, facecolor=color("m", 0), alpha=shade, linewidth=0))
            if score.shared:
                axes.add_patch(Rectangle(corner, 0.96, 0.92, fill=False, edgecolor=INK, linewidth=1.2))
            axes.text(across, down, f"{score.mean:.1f}", ha="center", va="center", color=INK)
    # The names of rows and columns, without an axis.
    axes.set_xlim(-0.5, len(matrix.columns) - 0.5)
    axes.set_ylim(len(matrix.rows) - 0.5, -0.5)
    axes.set_xticks(range(len(matrix.columns)), [f"{column.title}\n{column.name}" for column in matrix.columns])
    axes.set_yticks(range(len(matrix.rows)), matrix.rows)
    axes.tick_params(length=0)
    axes.grid(visible=False)
    for spine in axes.spines.values():
        spine.set_color(MUTED)
        spine.set_visible(False)
    return inline(figure, name, f"{matrix.method}: {matrix.metric} by training set and evaluation split")
