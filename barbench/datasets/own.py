"""Writes and finds data sets of your own; `spec.dataset` reads them. Used by `barbench data import` and `verify`."""

from pathlib import Path

from barbench.files import write_atomically
from barbench.paper.partitions import Partition
from barbench.spec.dataset import OWN_FILE
from barbench.values import write_yaml


def own_names(root: Path) -> list[str]:
    """Names of the folders with a `protocol.yaml`, in order."""
    return sorted(path.parent.name for path in root.glob(f"*/{OWN_FILE}"))


def write_own(root: Path, partition: Partition) -> None:
    """Write the `protocol.yaml` of a partition that `own_partition` made."""
    fields = {
        "title": partition.title,
        "refs": partition.refs_file,
        "instances": partition.instances_file,
        "splits": list(partition.eval_splits),
        "context_length": partition.context_length,
    }
    if partition.exif != "stored":
        fields["exif"] = partition.exif
    content = write_yaml(fields)
    write_atomically(root / partition.folder / OWN_FILE, content.encode())
