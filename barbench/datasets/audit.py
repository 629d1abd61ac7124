"""Checks a data root against what the public release promises: `barbench data verify ROOT`."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from barbench.datasets.pixels.decoder_warnings import decode_with_warnings
from barbench.datasets.pixels.images import ImageInfo, decode_image
from barbench.datasets.problems import FAILURES, RULES
from barbench.datasets.refer import read_refer
from barbench.datasets.references import ReferData
from barbench.errors import BarbenchError, DataError
from barbench.paper.partitions import Counts, Partition
from barbench.progress import OnProgress

THREADS = 8
CHUNK = 64  # images that are decoded before the decoders' warnings are read
Kind = Literal["real", "shapes"]
Severity = Literal["failure", "difference", "warning"]


@dataclass(frozen=True)
class AuditRow:
    """One split as found.

    Attributes:
        expected: the public release's sizes; None for generated data.
        shared_images: number of its images that are in `train` too; 0 for `train` itself.
    """

    dataset: str
    split: str
    found: Counts
    expected: Counts | None
    shared_images: int
    problems: tuple[str, ...]


@dataclass(frozen=True)
class Finding:
    """Something that a check found.

    Attributes:
        severity: a `failure` makes results wrong; a `difference` from the public release makes them incomparable with
            published ones; a `warning` is handled by a stated rule, or is uncertain.
    """

    severity: Severity
    dataset: str
    text: str


@dataclass(frozen=True)
class AuditReport:
    """What the check of a root found: one row per split, all findings, and how many images were opened."""

    rows: tuple[AuditRow, ...]
    findings: tuple[Finding, ...]
    images_opened: int

    @property
    def ok(self) -> bool:
        """Whether there is no failure."""
        return not any(finding.severity == "failure" for finding in self.findings)

    @property
    def released(self) -> bool:
        """Whether nothing differs from the public release, where there is one."""
        return not any(finding.severity == "difference" for finding in self.findings)


def verify(root: Path, partitions: Iterable[Partition], kind: Kind, progress: OnProgress | None = None) -> AuditReport:
    """Read every partition, open every image once and judge what is found. Bad data raise nothing; they are findings.

    Sizes are compared for `real` data only: references and images must match, sentences too if the published number is
    certain. Problems that the reader handles by rule are warnings in real data, and failures in generated data, which
    should have none. `progress` is called with the images opened and all images.
    """
    rows: list[AuditRow] = []
    findings: list[Finding] = []
    images: dict[ImageInfo, str] = {}
    splits: dict[str, dict[ImageInfo, set[str]]] = {}
    of_problems: Severity = "warning" if kind == "real" else "failure"
    for partition in partitions:
        try:
            data = read_refer(root, partition)
        except BarbenchError as error:
            findings.append(Finding("failure", partition.name, str(error)))
            continue
        findings += _unique_ids(data)
        for problem, line in zip(data.problems.found, data.problems.lines(), strict=True):
            severity = "failure" if problem in FAILURES else of_problems
            findings.append(Finding(severity, partition.name, line))
        # Its splits one by one: sizes, and images that train, too.
        for name in partition.splits:
            row, found = _check_split(data, name, kind)
            rows.append(row)
            findings += found

        # Data sets share images: each is opened once, under the name of the first that has it.
        for info in data.images.values():
            images.setdefault(info, partition.name)
        used: dict[ImageInfo, set[str]] = defaultdict(set)
        for reference in data.references:
            used[data.images[reference.image_id]].add(reference.split)
        splits[partition.name] = used

    # Pixels last, of the images of all data sets together.
    unusable, pixels = _open_all(images, progress)
    findings += unusable
    for name in splits:
        findings += _same_pixels(name, splits[name], pixels)
    return AuditReport(tuple(rows), tuple(findings), len(images))


def _check_split(data: ReferData, name: str, kind: Kind) -> tuple[AuditRow, list[Finding]]:
    """Sizes against the release's, and images shared with `train`."""
    partition = data.partition
    references = [r for r in data.references if r.split == name]
    images = {r.image_id for r in references}
    sentences = sum(len(r.sentences) for r in references)
    found = Counts(len(references), len(images), sentences)
    expected = partition.counts.get(name) if kind == "real" else None
    findings: list[Finding] = []

    def find(severity: Severity, text: str) -> None:
        findings.append(Finding(severity, partition.name, text))

    # Sizes. Those from memory are no proof of a difference.
    if not references:
        find("failure", f"{name} has no references")  # the reader refuses it
    elif expected is not None:
        for unit, number, released in zip(found._fields, found, expected, strict=True):
            if number != released:
                certain = unit != "sentences" or partition.trusted_sentences
                text = f"{name} has {number:,} {unit}, the public release has {released:,}"
                find("difference" if certain else "warning", text)

    # Images that train, too: a fault, except where the partition is known for it.
    shared = 0
    if name != "train":
        trained = {r.image_id for r in data.references if r.split == "train"}
        shared = len(images & trained)
    if shared:
        text = f"{shared:,} of {len(images):,} images of {name} are in train too"
        if name in partition.leaks:
            find("warning", f"{text} (the partition divides objects, not images)")
        else:
            find("failure", text)
    return AuditRow(partition.name, name, found, expected, shared, _problems(data, name)), findings


def _problems(data: ReferData, split: str) -> tuple[str, ...]:
    """Kinds of problem with their number in one split; masks outside their image are counted per partition only."""
    lines = []
    for kind in RULES:
        places = data.problems.found.get(kind, ())
        count = sum(place.startswith(f"{split} ") for place in places)
        if count:
            lines.append(f"{kind}: {count}")
    return tuple(lines)


def _unique_ids(data: ReferData) -> list[Finding]:
    """References and sentences whose ids occur twice. The reader itself refuses that of images and annotations."""
    references = Counter(reference.ref_id for reference in data.references)
    sentences: Counter[int] = Counter()
    for reference in data.references:
        sentences.update(sentence.sent_id for sentence in reference.sentences)
    findings = []
    for kind, counts in (("reference", references), ("sentence", sentences)):
        twice = [number for number, count in counts.items() if count > 1]
        if twice:
            text = f"{len(twice)} {kind} ids occur twice, the first is {twice[0]}"
            findings.append(Finding("failure", data.partition.name, text))
    return findings


def _same_pixels(partition: str, used: dict[ImageInfo, set[str]], pixels: dict[ImageInfo, bytes]) -> list[Finding]:
    """Images with equal pixels, by their hashes, under several ids, in train and elsewhere; `used` has the splits that
    an image is in. Equal ids are `_check_split`'s task."""
    # Images by their pixels.
    copies: dict[bytes, list[ImageInfo]] = defaultdict(list)
    for info in used:
        if info in pixels:
            copies[pixels[info]].append(info)
    # Pairs of one that trains and one that is evaluated.
    pairs = []
    for group in copies.values():
        trained = [info for info in group if "train" in used[info]]
        evaluated = [info for info in group if used[info] - {"train"}]
        for first in trained:
            pairs += [(first, second) for second in evaluated if second.image_id != first.image_id]
    if not pairs:
        return []
    # One example is named, and all are counted.
    example, copy = (info.path.name for info in pairs[0])
    images = len({b.image_id for _, b in pairs})
    text = (
        f"{images:,} images that are evaluated have the pixels of one in train, under another id: {copy} is {example}"
    )
    return [Finding("warning", partition, text)]


def _open_all(
    images: dict[ImageInfo, str], progress: OnProgress | None
) -> tuple[list[Finding], dict[ImageInfo, bytes]]:
    """What cannot be decoded, and a hash of the pixels of the others. In threads: OpenCV and hashing release the
    interpreter lock, and a network disk answers several requests at once."""
    findings: list[Finding] = []
    pixels: dict[ImageInfo, bytes] = {}
    pool = ThreadPoolExecutor(THREADS)
    opened = list(images.items())
    done = 0
    try:
        for start in range(0, len(images), CHUNK):
            chunk = opened[start : start + CHUNK]
            for image, (found, complaint) in zip(chunk, decode_with_warnings(_open, chunk, pool.map), strict=True):
                # An image that is decoded with a complaint is damaged, too.
                if complaint and not isinstance(found, Finding):
                    found = Finding("failure", image[1], f"{image[0].path} is damaged: {complaint}")
                if isinstance(found, Finding):
                    findings.append(found)
                else:
                    pixels[image[0]] = found
                done += 1
                if progress is not None:
                    progress(done, len(images))
    finally:
        pool.shutdown(cancel_futures=True)  # an interrupt does not wait for thousands of images
    return findings, pixels


def _open(image: tuple[ImageInfo, str]) -> Finding | bytes:
    try:
        return hashlib.blake2b(decode_image(image[0]).tobytes(), digest_size=16).digest()
    except DataError as error:
        return Finding("failure", image[1], str(error))
