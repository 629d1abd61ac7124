"""What the commands `data verify`, `audit` and `import` do, from their arguments to rows."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from barbench.benchmarks.matrix import choose_datasets
from barbench.datasets.audit import AuditRow, Kind, verify
from barbench.datasets.importers.source import Request, SplitCount, import_data
from barbench.datasets.importers.summary import examples, share
from barbench.datasets.overlap import TrainingOverlap, evaluation_images, overlaps, read_outlines
from barbench.datasets.pixels.images import decode_image
from barbench.datasets.references import ReferData
from barbench.datasets.sources import SHAPES_MARK, DataSource, data_root, find_source
from barbench.errors import MissingData, UsageError
from barbench.listing import progress_bar
from barbench.paper.partitions import EVALUATION_SETS, PAPER_PARTITIONS, PARTITIONS, Exif, Partition
from barbench.spec.dataset import DATASETS, OWN_FILE, Dataset
from barbench.spec.text import split_list

PREVIEWED = 10  # tiles of a preview
Sizes = Mapping[tuple[str, str], int]
"""Number of images by (partition, split)."""


class Audit(NamedTuple):
    """Images shared by training sets and evaluation splits.

    Attributes:
        leaks: a sentence for each column that leaks.
        absent: names of protocols that the root lacks.
    """

    rows: list[dict[str, object]]
    leaks: list[str]
    absent: list[str]


class Verification(NamedTuple):
    """One row per split, findings in words, and whether everything is as it should be."""

    rows: list[dict[str, object]]
    findings: list[str]
    sound: bool


def verify_data(data: str | None, datasets: str, own: bool = False, exif: Exif = "stored") -> Verification:
    """Check a data root.

    Args:
        datasets: a comma list; `all` means those that the root has.
        own: whether the data need not be the public release.
    """
    # The partitions: those that are named, or all that the root has.
    names = split_list(datasets)
    if names == ["all"]:
        root = data_root(data)
        own_files = sorted(root.glob(f"*/{OWN_FILE}")) if root else []
        names = [*PARTITIONS.names(), *(file.parent.name for file in own_files)]
    wanted: dict[str, Dataset] = {}
    for dataset in choose_datasets(names, data, exif=exif):
        for partition in dataset.partitions:
            wanted[partition.name] = Dataset.of(partition)
    sources = _sources(data, list(wanted.values()), partly=datasets == "all")
    root = next(iter(sources.values())).root
    kind: Kind = "shapes" if (root / SHAPES_MARK).exists() else "real"
    # What is in the files, and whether it is sound.
    with progress_bar("checking the data") as progress:
        partitions = [wanted[name].members[0] for name in sources]
        report = verify(root, partitions, kind, progress)
    rows = [_verified_row(row) for row in report.rows]
    findings = [f"{f.severity}: {f.dataset}: {f.text}" for f in report.findings]
    verdict = "sound" if report.ok else "not sound"
    if report.ok and not report.released:
        accepted = " (accepted: --own)" if own else ": accept that with --own"
        verdict += f", but not the public release{accepted}"
    findings.append(f"{report.images_opened} images opened; the data are {verdict}")
    return Verification(rows, findings, report.ok and (own or report.released))


def _verified_row(row: AuditRow) -> dict[str, object]:
    return {
        "split": f"{row.dataset} {row.split}",
        **row.found._asdict(),
        "expected": list(row.expected) if row.expected else None,
        "images shared with train": row.shared_images,
        "problems": list(row.problems),
    }


def import_rows(request: Request, preview: Path | None = None) -> tuple[list[dict[str, object]], list[str]]:
    """Import, and draw a preview: a row for each split that is there now, and notes in words; UsageError if the preview
    is no PNG, or its folder is not there."""
    if preview is not None and preview.suffix.lower() != ".png":
        raise UsageError(f"--preview {preview}: expected the name of a .png file")
    if preview is not None and not preview.parent.is_dir():
        raise UsageError(f"--preview {preview}: the folder {preview.parent} is not there")
    # Each split is compared with the public release, and a few of its masks are drawn.
    with progress_bar("importing") as progress:
        made = import_data(request, progress)
    notes = [*made.notes, *map(_compared, made.counts)]
    if preview is not None:
        notes.append(_preview(made.data, preview))
    rows = [_import_row(count) for count in made.counts]
    return rows, [*notes, f"read as {made.form}; check it all: data verify {request.root}"]


def _import_row(count: SplitCount) -> dict[str, object]:
    masks = count.masks
    return {
        "split": f"{count.dataset} {count.split}",
        **count.found._asdict(),
        "objects": masks.objects,
        "% of the pixels": {
            "smallest": _percent(masks.smallest),
            "median": _percent(masks.median),
            "largest": _percent(masks.largest),
        },
        "masks": {"empty": masks.empty, "full": masks.full},
        "public release": list(count.expected) if count.expected else None,
    }


def _percent(share: float | None) -> float | None:
    return None if share is None else round(100 * share, 2)


def _preview(data: list[ReferData], path: Path) -> str:
    """Draw some references as they are read; a note for the user."""
    from barbench.reports.panels import Tile, write_tiles  # needs matplotlib

    tiles = []
    # One tile per reference, with its first sentence.
    for each, reference in examples(data, PREVIEWED):
        image = decode_image(each.images[reference.image_id])
        expressions = [sentence.text for sentence in reference.sentences]
        more = f" (+{len(expressions) - 1})" if len(expressions) > 1 else ""
        caption = f'"{expressions[0]}"{more}'
        place = f"{each.partition.name} {reference.split}, {100 * share(each, reference):.1f} % of the pixels"
        tiles.append(Tile(image, each.mask(reference.ann_id).astype(bool), caption, place))
    if not tiles:
        return f"no preview: none of the images is there, {path} is not written"
    write_tiles(tiles, path)
    return f"{len(tiles)} of the references, from the smallest mask to the largest: look at {path}"


def _compared(count: SplitCount) -> str:
    name = f"{count.dataset} {count.split}"
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
    """Count the images that each training set shares with each evaluation split, over all data sets that are there."""
    audited = [*PAPER_PARTITIONS, *EVALUATION_SETS]
    sources = _sources(data, [Dataset.of(partition) for partition in audited], partly=True)
    partitions = [partition for partition in audited if partition.name in sources]
    outlines = read_outlines(next(iter(sources.values())).root, partitions)
    # Training sets all of whose data are there.
    datasets = []
    for dataset in DATASETS:
        if set(dataset.partitions) <= set(partitions) and dataset.trains:
            datasets.append(dataset)
    found = overlaps(datasets, partitions, outlines)
    sizes = {split: len(images) for split, images in evaluation_images(partitions, outlines).items()}

    # The first row has the sizes, the others what of them a training set shares.
    rows = [_row("(images of the split)", None, None, partitions, sizes)]
    leaks: list[str] = []
    for overlap in found:
        rows.append(_row(overlap.dataset.name, overlap.references, overlap.images, partitions, overlap.shared))
        leaks.extend(_leaks(overlap, sizes))
    absent = [partition.name for partition in PAPER_PARTITIONS if partition not in partitions]
    return Audit(rows, leaks, absent)


def _row(
    name: str, references: int | None, images: int | None, partitions: list[Partition], counts: Sizes
) -> dict[str, object]:
    row: dict[str, object] = {"trained on": name, "references": references, "images": images}
    for partition in partitions:
        row[partition.name] = {split: counts[partition.name, split] for split in partition.eval_splits}
    return row


def _leaks(found: TrainingOverlap, sizes: Sizes) -> list[str]:
    """The evaluation splits of the data set's own tables that share images with its training set."""
    lines = []
    for _, partition, split in found.dataset.evaluation_splits:
        shared = found.shared[partition.name, split]
        if shared:
            column = f"{partition.paper_name} {partition.columns[split]}"
            images = sizes[partition.name, split]
            lines.append(f"leak: {found.dataset.name} trains on {shared:,} of the {images:,} images of {column}")
    return lines


def _sources(data: str | None, datasets: list[Dataset], partly: bool) -> dict[str, DataSource]:
    """The source of each data set; with `partly`, of those that are there, and MissingData if none is."""
    # The last error is told where nothing is there.
    sources: dict[str, DataSource] = {}
    absent: MissingData | None = None
    for dataset in datasets:
        try:
            sources[dataset.name] = find_source(data, dataset)
        except MissingData as error:
            if not partly:
                raise
            absent = error
    if not sources:
        raise absent or MissingData("no data")
    return sources
