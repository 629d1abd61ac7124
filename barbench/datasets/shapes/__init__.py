"""The embedded benchmark: a generator of referring scenes that writes the same files as the real data sets."""

from barbench.datasets.shapes.make import ShapesSpec, make_shapes

__all__ = ["ShapesSpec", "make_shapes"]
