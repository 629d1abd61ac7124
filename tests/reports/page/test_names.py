"""Names in a drawing: kept apart, in order, and none lost."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from barbench.reports.page.names import name_column, name_points, spread


@pytest.mark.parametrize("count", [1, 2, 9, 40])
def test_heights_keep_apart_in_order_and_inside(count: int) -> None:
    wished = np.sort(np.random.default_rng(count).normal(50, 5, count))
    placed = spread(wished, 0.0, 100.0, 8.0)
    assert placed.min() >= -1e-9
    assert placed.max() <= 100 + 1e-9
    assert np.diff(placed).min(initial=99.0) >= min(8.0, 100 / max(count - 1, 1)) - 1e-9


def test_heights_that_are_far_apart_stay() -> None:
    assert spread(np.array([1.0, 40.0, 90.0]), 0.0, 100.0, 8.0).tolist() == [1.0, 40.0, 90.0]


def test_every_name_is_beside_its_point_or_told_as_left_out() -> None:
    axes = Figure((4, 3), dpi=72).add_axes((0.1, 0.1, 0.6, 0.8))
    points = pd.DataFrame({"label": [f"method {i}" for i in range(12)], "x": 1.0, "y": np.linspace(0, 0.1, 12)})
    axes.plot(points["x"], points["y"])
    axes.set_ylim(0, 1)
    left = name_points(axes, points)
    written = [text.get_text() for text in axes.texts]
    assert sorted(written + left) == sorted(points["label"])
    assert left
    name_column(axes, points, ["#000000"] * 12)
    column = axes.texts[len(written) :]
    assert [t.get_text() for t in column] == points["label"].tolist()
    assert np.diff([t.xyann[1] for t in column]).min() >= 9.4
