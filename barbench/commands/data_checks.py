"""What the commands `data verify`, `audit` and `import` do, from their arguments to rows."""

from pathlib import Path
from typing import Any, NamedTuple

from barbench.benchmarks.matrix import choose_tasks
from barbench.datasets.audit import Kind, verify
from barbench.datasets.importers.form import Form
from barbench.datasets.importers.source import Request, SplitCount, import_data
from barbench.datasets.overlap import TrainingOverlap, evaluation_images, overlaps, read_outlines
from barbench.datasets.own import own_names
from barbench.datasets.sources import SHAPES_MARK, DataSource, data_root, find_source
from barbench.errors import MissingData
from barbench.listing import progress_bar
from barbench.paper.mixtures import STORED, TASKS, Exif
from barbench.paper.protocols import KNOWN, PROTOCOLS, Protocol


class Audit(NamedTuple):
    """Images shared by training sets and evaluation splits.

    Attributes:
        rows: one per training set.
        leaks: a sentence for each column that leaks.
        absent: names of protocols that the root lacks.
    """

    rows: list[dict[str, Any]]
    leaks: list[str]
    absent: list[str]


def verify_data(
    data: str | None, split: str, own: bool = False, exif: Exif = STORED
) -> tuple[list[dict[str, Any]], list[str], bool]:
    """Check a data root.

    Args:
        data: REFER/COCO root, or shapes; None for the default.
        split: a comma list; `all` means those that the root has.
        own: whether the data need not be the public release.
        exif: how images are read.

    Returns:
        One row per split, findings in words, and whether everything is as it should be.

    Raises:
        MissingData: if the root lacks what was asked for.
    """
    place = data_root(data)
    names = ",".join([*KNOWN.names(), *(own_names(place) if place else ())]) if split == "all" else split
    wanted = {protocol.name: protocol for task in choose_tasks(names, data, exif=exif) for protocol in task.reads}
    sources = _sources(data, list(wanted.values()), partly=split == "all")
    root = next(iter(sources.values())).root
    kind: Kind = "shapes" if (root / SHAPES_MARK).exists() else "real"
    with progress_bar("checking the data") as progress:
        report = verify(root, [wanted[name] for name in sources], kind, progress)
    rows = [
        {
            "split": f"{row.protocol} {row.split}",
            **row.found._asdict(),
            "expected": list(row.expected) if row.expected else None,
            "images shared with train": row.shared_images,
            "problems": list(row.problems),
        }
        for row in report.rows
    ]
    findings = [f"{f.severity}: {f.protocol}: {f.text}" for f in report.findings]
    verdict = "sound" if report.ok else "not sound"
    if report.ok and not report.released:
        verdict += ", but not the public release" + (" (accepted: --own)" if own else ": accept that with --own")
    ok = report.ok and (own or report.released)
    return rows, [*findings, f"{report.images_opened} images opened; the data are {verdict}"], ok


def import_rows(
    source: Path, root: Path, form: Form | None, split: str | None, images: Path | None, instances: Path | None
) -> tuple[list[dict[str, Any]], list[str]]:
    """A row for each split that is now under `root`, and notes in words."""
    with progress_bar("importing") as progress:
        made = import_data(Request(source, root, form, split, images, instances), progress)
    rows = [
        {
            "split": f"{count.protocol} {count.split}",
            **count.found._asdict(),
            "public release": list(count.expected) if count.expected else None,
        }
        for count in made.counts
    ]
    return rows, [*made.notes, *map(_compared, made.counts), f"read as {made.form}; check it all: data verify {root}"]


def _compared(count: SplitCount) -> str:
    name = f"{count.protocol} {count.split}"
    if count.found.references == 0:
        return f"{name} is not in the source"
    if count.expected is None:
        return f"{name}: {count.found.references:,} references"
    if count.as_released:
        return f"{name} has the references and images of the public release"
    return (
        f"{name} is not the public release: {count.found.references:,} references of {count.found.images:,} images, "
        f"and it has {count.expected.references:,} of {count.expected.images:,}"
    )


def audit_data(data: str | None) -> Audit:
    """Count the images that each training set shares with each evaluation split, over all protocols that the data have.

    Args:
        data: REFER/COCO root, or shapes; None for the default.

    Returns:
        Rows and sentences.

    Raises:
        MissingData: if the root has no protocol at all.
    """
    sources = _sources(data, list(PROTOCOLS), partly=True)
    protocols = [p for p in PROTOCOLS if p.name in sources]
    outlines = read_outlines(next(iter(sources.values())).root, protocols)
    tasks = [task for task in TASKS if set(task.reads) <= set(protocols)]
    found = overlaps(tasks, protocols, outlines)
    sizes = {split: len(images) for split, images in evaluation_images(protocols, outlines).items()}
    rows = [_row("(images of the split)", None, None, protocols, sizes)]
    rows += [_row(f.task.name, f.references, f.images, protocols, f.shared) for f in found]
    leaks = [line for f in found for line in _leaks(f, sizes)]
    return Audit(rows, leaks, [p.name for p in PROTOCOLS if p not in protocols])


def _row(
    name: str, references: int | None, images: int | None, protocols: list[Protocol], counts: Any
) -> dict[str, Any]:
    columns = {p.name: {split: counts[p.name, split] for split in p.evals} for p in protocols}
    return {"trained on": name, "references": references, "images": images, **columns}


def _leaks(found: TrainingOverlap, sizes: dict[tuple[str, str], int]) -> list[str]:
    """The evaluation splits of the task's own tables that share images with its training set."""
    lines = []
    for _, protocol, split in found.task.evaluated:
        shared, images = found.shared[protocol.name, split], sizes[protocol.name, split]
        if shared:
            column = f"{protocol.dataset} {protocol.columns[split]}"
            lines.append(f"leak: {found.task.name} trains on {shared:,} of the {images:,} images of {column}")
    return lines


def _sources(data: str | None, protocols: list[Protocol], partly: bool) -> dict[str, DataSource]:
    """The source of each protocol; with `partly`, those that are there, and MissingData if none is."""
    sources: dict[str, DataSource] = {}
    absent: MissingData | None = None
    for protocol in protocols:
        try:
            sources[protocol.name] = find_source(data, protocol)
        except MissingData as error:
            if not partly:
                raise
            absent = error
    if not sources:
        raise absent or MissingData("no data")
    return sources
