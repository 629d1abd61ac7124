"""The words of the expressions that a stored cell was scored on, read again from its data: `barbench export`."""

from barbench.benchmarks.panel_choice import scored_root
from barbench.datasets.refer import read_annotations
from barbench.datasets.sources import data_root
from barbench.results.record import Cell
from barbench.spec.dataset import resolve_dataset


def sentences_of(cell: Cell, data: str | None) -> dict[str, dict[int, str]]:
    """The sentences of each evaluation split of a cell.

    Args:
        cell: a finished one.
        data: where its data are, as for `find_source`.

    Returns:
        By split as the cell's record names it: texts by sentence id.

    Raises:
        UsageError: if the data are not those that the cell was scored on.
        MissingData: if a file is absent.
    """
    dataset = resolve_dataset(cell.dataset, data_root(data), cell.context_length, cell.exif)
    root = scored_root(cell, dataset, data)
    members = {member.name: read_annotations(root, member) for member in dataset.members}
    found: dict[str, dict[int, str]] = {}
    for key, partition, name in dataset.evaluation_splits:
        found[key] = {}
        for reference in members[partition.name].split(name).references:
            for sentence in reference.sentences:
                found[key][sentence.sent_id] = sentence.text
    return found
