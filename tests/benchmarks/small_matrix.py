"""Cells of small matrices on generated data, for tests of what runs them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from barbench.benchmarks.job import Job
from barbench.benchmarks.matrix import Part, cells_of, choose_datasets
from barbench.datasets.sources import folder_source
from barbench.methods.catalog import MethodSpec
from barbench.methods.resolve import resolve
from barbench.spec.recipe import Recipe
from barbench.spec.run import Place, Run

HERE: Mapping[str, Any] = {"device": "cpu", "threads": 1, "workers": 0, "cache": None}
"""A place that needs nothing of the host."""


def small_cells(
    root: Path,
    backbone: Path,
    recipe: Recipe,
    results: Path,
    methods: str | Sequence[MethodSpec] = "head-only",
    datasets: Sequence[str] = ("refcocog-g",),
    weights: str = "random",
    options: Mapping[str, Mapping[str, Any]] | None = None,
    place: Mapping[str, Any] | None = None,
    **run: Any,
) -> list[Job]:
    """Cells with a recipe that is no file; `run` and `place` change single fields of Run and Place."""
    chosen = choose_datasets(datasets, str(root), run.get("context_length"), run.get("exif", "stored"))
    part = Part(
        methods=resolve(methods) if isinstance(methods, str) else list(methods),
        options=options or {},
        backbones=[str(backbone)],
        weights=weights,
        datasets=chosen,
        recipe=recipe,
    )
    sources = {dataset.name: folder_source(root, dataset) for dataset in chosen}
    where = Place(**{**HERE, "results": results, **(place or {})})
    return cells_of(Run(**run), where, [part], sources)
