"""What depends on a host is resolved there: threads, loader processes, cache, where data and weights lie."""

import os
from pathlib import Path

import torch

from barbench.benchmarks.execution.host.devices import core_count, loader_count
from barbench.benchmarks.job import Job
from barbench.benchmarks.matrix import identify_weights
from barbench.datasets.shapes import ShapesSpec
from barbench.datasets.sources import cache_folder, folder_source, shapes_source
from barbench.errors import UsageError
from barbench.spec.backbone import PRETRAINED
from barbench.spec.run import AUTO
from barbench.spec.text import plural
from barbench.spec.weights import digests


def resolve_on_host(job: Job) -> Job:
    """Fill in what is open in `job`: the loaders alone where the command that made it runs on the same host. UsageError
    where this host has too few GPUs, or other data or weights than the cell names."""
    place = job.place
    processes = job.cell.processes
    # Threads are open, 0, where the command ran on another host.
    threads = place.threads or max(1, (job.cores or core_count()) // processes)
    workers = place.workers
    if workers is None:
        workers = loader_count(place.device, threads)
    if place.threads:
        return job.at(workers=workers)
    # The rest is of another host: GPUs, cache, data and weights are looked for here.
    count = torch.cuda.device_count()
    if place.device == "cuda" and count < processes:
        found = plural(count, "GPU") if count else "no GPU"
        raise UsageError(f"{found} where the cell needs {processes}")
    cache = cache_folder() if place.cache == AUTO else place.cache
    files = job.files.model_copy(update={"data": _data(job), "weights": _weights(job)})
    return job.at(threads=threads, workers=workers, cache=cache).model_copy(update={"files": files})


def _data(job: Job) -> Path:
    """The folder with the cell's data: where it was, or what this host's $BARBENCH_DATA says, or shapes drawn here."""
    wanted = job.cell.data.fingerprint
    root = job.files.data
    # Shapes carry their fingerprint in the folder's name.
    if root.name == f"shapes-{wanted}" and root.exists():
        return root
    if ShapesSpec().fingerprint() == wanted:
        return shapes_source(ShapesSpec()).root
    if not root.exists() and "BARBENCH_DATA" in os.environ:
        root = Path(os.environ["BARBENCH_DATA"])
    if folder_source(root, job.dataset).fingerprint != wanted:
        raise UsageError(f"{root} holds other data than the cell was made for")
    return root


def _weights(job: Job) -> str | None:
    """The file with the cell's weights: where it was, or where this host's copy of barbench has it."""
    path = job.files.weights
    if path is None:
        return None
    default = not Path(path).is_file() and job.cell.weights.startswith(f"{PRETRAINED}@")
    tag, found = identify_weights(job.files.backbone, None if default else path)
    if digests(tag) != digests(job.cell.weights):
        raise UsageError(f"{path} is not there, or does not hold the weights {job.cell.weights}")
    return found
