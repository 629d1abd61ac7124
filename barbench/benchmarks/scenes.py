"""Sentences, images and objects of the expressions that a stored cell was scored on, read again from its data: for the
page of `barbench report` and for `barbench export --expressions`."""

from functools import partial

import numpy as np

from barbench.benchmarks.panel_choice import scored_root
from barbench.datasets.pixels.images import decode_image
from barbench.datasets.refer import read_refer
from barbench.datasets.references import ReferData
from barbench.datasets.sources import chosen_data, data_root
from barbench.errors import DataError, MissingData, UsageError
from barbench.files import at_home
from barbench.results.qualitative import Image, Mask, Scenes
from barbench.results.record import Cell
from barbench.spec.dataset import resolve_dataset


class SceneFinder:
    """The scenes of cells; data that several cells share are read once.

    Args:
        data: where they are, as for `find_source`.

    Attributes:
        notes: why the scenes of some cells are not there.

    Raises:
        UsageError: if `data` is no folder.
    """

    def __init__(self, data: str | None) -> None:
        if data is not None and data != "shapes" and not at_home(data).is_dir():
            raise UsageError(f"--data {data}: there is no such folder")
        self.data = data
        self.notes: list[str] = []
        self._found: dict[str, dict[str, Scenes]] = {}

    def __call__(self, cell: Cell) -> dict[str, Scenes]:
        """The scenes of a cell by its evaluation splits; empty where its data are not those of `data`."""
        kept = cell.model_dump_json(include={"dataset", "data", "context_length", "exif"})
        if kept not in self._found:
            self._found[kept] = self._read(cell)
        return self._found[kept]

    def _read(self, cell: Cell) -> dict[str, Scenes]:
        # Generated data are not made for cells that were scored on others.
        if cell.data.kind == "refer" and chosen_data(self.data) == "shapes":
            return {}
        try:
            return scenes_of(cell, self.data)
        except (UsageError, MissingData, DataError) as error:
            self.notes.append(f"no sentences and images of {cell.dataset}: {error}")
            return {}


def scenes_of(cell: Cell, data: str | None) -> dict[str, Scenes]:
    """The scenes of each evaluation split of a cell.

    Args:
        cell: a finished one.
        data: where its data are, as for `find_source`.

    Returns:
        By split as the cell's record names it.

    Raises:
        UsageError: if the data are not those that the cell was scored on.
        MissingData: if a file is absent.
    """
    dataset = resolve_dataset(cell.dataset, data_root(data), cell.context_length, cell.exif)
    root = scored_root(cell, dataset, data)
    read = {member.name: read_refer(root, member) for member in dataset.members}
    found = {}
    for key, partition, name in dataset.evaluation_splits:
        own = read[partition.name]
        sentences = {}
        for reference in own.split(name).references:
            for sentence in reference.sentences:
                sentences[sentence.sent_id] = (sentence.text, reference.category)
        found[key] = Scenes(
            sentences,
            {image: info.path.name for image, info in own.images.items()},
            partial(_image, own),
            partial(_mask, own),
        )
    return found


def _image(data: ReferData, image_id: int) -> Image:
    return decode_image(data.images[image_id])


def _mask(data: ReferData, ann_id: int) -> Mask:
    return np.asarray(data.mask(ann_id) > 0)
