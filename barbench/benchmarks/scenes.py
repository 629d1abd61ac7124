"""Sentences, images and objects of the expressions that a stored cell was scored on, read again from its data: for the
page of `barbench report` and for `barbench export --expressions`."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

from barbench.benchmarks.panel_choice import scored_root
from barbench.datasets.pixels.images import decode_image
from barbench.datasets.refer import read_annotations, read_refer
from barbench.datasets.references import ReferData, ReferSplit
from barbench.datasets.sources import chosen_data, data_root
from barbench.errors import DataError, MissingData, UsageError
from barbench.files import at_home
from barbench.paper.partitions import Partition
from barbench.results.qualitative import Image, Mask, Scenes
from barbench.results.record import Cell
from barbench.spec.dataset import resolve_dataset


class SceneFinder:
    """The scenes of cells; data that several cells share are read once. `notes` say why those of some are not there;
    UsageError if `data` is no folder."""

    def __init__(self, data: str | None) -> None:
        if data is not None and data != "shapes" and not at_home(data).is_dir():
            raise UsageError(f"--data {data}: there is no such folder")
        self.data = data
        self.notes: list[str] = []
        self._found: dict[str, dict[str, Scenes]] = {}

    def __call__(self, cell: Cell) -> dict[str, Scenes]:
        """The scenes of a cell by its evaluation splits; empty where its data are not those of `data`."""
        key = data_key(cell)
        if key not in self._found:
            self._found[key] = self._read(cell)
        return self._found[key]

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
    """The scenes of each evaluation split of a cell, by the split's name in its record; UsageError if the data are not
    those that the cell was scored on."""
    found = {}
    for key, split in _scored_splits(cell, data, read_refer):
        # Sentences are few and held; images and masks are decoded when they are asked for.
        own = split.data
        sentences = {}
        for reference in split.references:
            for sentence in reference.sentences:
                sentences[sentence.sent_id] = (sentence.text, reference.category)
        found[key] = Scenes(
            sentences,
            {image: info.path.name for image, info in own.images.items()},
            partial(_image, own),
            partial(_mask, own),
        )
    return found


def sentences_of(cell: Cell, data: str | None) -> dict[str, dict[int, str]]:
    """The sentences of each evaluation split of a cell, by the split's name in its record and by sentence id; no image
    has to be there."""
    found = {}
    for key, split in _scored_splits(cell, data, read_annotations):
        texts = {}
        for reference in split.references:
            for sentence in reference.sentences:
                texts[sentence.sent_id] = sentence.text
        found[key] = texts
    return found


def data_key(cell: Cell) -> str:
    """Equal for cells that were scored on the same expressions of the same files."""
    return cell.model_dump_json(include={"dataset", "data", "context_length", "exif"})


def _scored_splits(
    cell: Cell, data: str | None, read: Callable[[Path, Partition], ReferData]
) -> Iterator[tuple[str, ReferSplit]]:
    """The evaluation splits of a cell with their keys, from its own data; each partition is read once."""
    dataset = resolve_dataset(cell.dataset, data_root(data), cell.context_length, cell.exif)
    root = scored_root(cell, dataset, data)
    members = {member.name: read(root, member) for member in dataset.members}
    for key, partition, name in dataset.evaluation_splits:
        yield key, members[partition.name].split(name)


def _image(data: ReferData, image_id: int) -> Image:
    return decode_image(data.images[image_id])


def _mask(data: ReferData, ann_id: int) -> Mask:
    return np.asarray(data.mask(ann_id) > 0)
