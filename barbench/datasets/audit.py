"""Checks a data root against what the protocols promise: `barbench data verify ROOT`."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal, TypeVar

from barbench.datasets.decoder_warnings import decoder_warnings
from barbench.datasets.problems import RULES
from barbench.datasets.refer import ImageInfo, ReferData, decode_image, read_refer
from barbench.errors import BarbenchError, DataError
from barbench.paper.protocols import Counts, Protocol

T = TypeVar("T")

THREADS = 8
CHUNK = 64  # images that are decoded between two looks at what the decoders said
Kind = Literal["real", "shapes"]
Progress = Callable[[int, int], None]  # done, total


@dataclass(frozen=True)
class AuditRow:
    """One split as found; `expected` is the public release's size, None for generated data and unknown splits.

    `shared_images` is how many of its images are in `train` too (0 for `train` itself).
    """

    protocol: str
    split: str
    found: Counts
    expected: Counts | None
    shared_images: int
    problems: tuple[str, ...]


@dataclass(frozen=True)
class Finding:
    """A `failure` means that results are not comparable; a `warning` is handled by a stated rule, or uncertain."""

    severity: Literal["failure", "warning"]
    protocol: str
    text: str


@dataclass(frozen=True)
class AuditReport:
    rows: tuple[AuditRow, ...]
    findings: tuple[Finding, ...]
    images_opened: int

    @property
    def ok(self) -> bool:
        return not any(finding.severity == "failure" for finding in self.findings)


def verify(root: Path, protocols: Iterable[Protocol], kind: Kind, progress: Progress | None = None) -> AuditReport:
    """Reads every protocol, opens every image once and weighs what it finds.

    Sizes are compared for `real` data only: references and images must match, sentences too where the published number
    is certain. Problems that the reader handles by rule are warnings in real data and failures in generated data, which
    has no excuse. Never raises for bad data; what is wrong is in the findings.
    """
    rows: list[AuditRow] = []
    findings: list[Finding] = []
    images: dict[ImageInfo, str] = {}
    splits: dict[str, dict[ImageInfo, set[str]]] = {}
    for protocol in protocols:
        try:
            data = read_refer(root, protocol)
        except BarbenchError as error:
            findings.append(Finding("failure", protocol.name, str(error)))
            continue
        findings += _unique_ids(data)
        findings += [
            Finding("warning" if kind == "real" else "failure", protocol.name, line) for line in data.problems.lines()
        ]
        for name in protocol.splits:
            row, found = _check_split(data, name, kind)
            rows.append(row)
            findings += found
        for info in data.images.values():
            images.setdefault(info, protocol.name)
        used: dict[ImageInfo, set[str]] = defaultdict(set)
        for reference in data.references:
            used[data.images[reference.image_id]].add(reference.split)
        splits[protocol.name] = used
    unusable, pixels = _open_all(images, progress)
    findings += unusable
    for name in splits:
        findings += _same_pixels(name, splits[name], pixels)
    return AuditReport(tuple(rows), tuple(findings), len(images))


def _check_split(data: ReferData, name: str, kind: Kind) -> tuple[AuditRow, list[Finding]]:
    """Sizes against the release's, and images shared with `train`."""
    protocol = data.protocol
    references = [r for r in data.references if r.split == name]
    images = {r.image_id for r in references}
    found = Counts(len(references), len(images), sum(len(r.sentences) for r in references))
    expected = protocol.counts[name] if kind == "real" else None
    shared = 0 if name == "train" else len(images & {r.image_id for r in data.references if r.split == "train"})
    findings: list[Finding] = []
    if not references:
        findings.append(Finding("failure", protocol.name, f"{name} has no references"))
    elif expected is not None:
        for unit, has, due in zip(found._fields, found, expected, strict=True):
            if has != due:
                certain = unit != "sentences" or protocol.trusted_sentences
                text = f"{name} has {has:,} {unit}, the public release has {due:,}"
                findings.append(Finding("failure" if certain else "warning", protocol.name, text))
    if shared:
        by_design = name in protocol.leaks
        text = f"{shared:,} of {len(images):,} images of {name} are in train too"
        text += " (the partition divides objects, not images)" if by_design else ""
        findings.append(Finding("warning" if by_design else "failure", protocol.name, text))
    return AuditRow(protocol.name, name, found, expected, shared, _problems(data, name)), findings


def _problems(data: ReferData, split: str) -> tuple[str, ...]:
    """Kinds of problem with their number in one split; masks outside their image are counted by protocol only."""
    counts = {kind: sum(place.startswith(f"{split} ") for place in data.problems.found.get(kind, ())) for kind in RULES}
    return tuple(f"{kind}: {count}" for kind, count in counts.items() if count)


def _unique_ids(data: ReferData) -> list[Finding]:
    """Ids of images and annotations are the reader's affair: there, twice is an error."""
    ids = {
        "reference": [r.ref_id for r in data.references],
        "sentence": [s.sent_id for r in data.references for s in r.sentences],
    }
    twice = {kind: [i for i, n in Counter(values).items() if n > 1] for kind, values in ids.items()}
    return [
        Finding("failure", data.protocol.name, f"{len(bad)} {kind} ids occur twice, the first is {bad[0]}")
        for kind, bad in twice.items()
        if bad
    ]


def _same_pixels(protocol: str, used: dict[ImageInfo, set[str]], pixels: dict[ImageInfo, bytes]) -> list[Finding]:
    """Images under several ids; `used` says in which splits an image is. Equal ids are `_check_split`'s affair."""
    copies: dict[bytes, list[ImageInfo]] = defaultdict(list)
    for info in used:
        if info in pixels:
            copies[pixels[info]].append(info)
    pairs = [
        (a, b) for group in copies.values() for a in group for b in group
        if a.image_id != b.image_id and "train" in used[a] and used[b] - {"train"}
    ]  # fmt: skip
    if not pairs:
        return []
    first, second = (info.path.name for info in pairs[0])
    images = len({b.image_id for _, b in pairs})
    text = (
        f"{images:,} images that are evaluated have the pixels of one in train, under another id: {second} is {first}"
    )
    return [Finding("warning", protocol, text)]


def _open_all(images: dict[ImageInfo, str], progress: Progress | None) -> tuple[list[Finding], dict[ImageInfo, bytes]]:
    """What cannot be decoded, and a hash of the others' pixels. In threads: OpenCV and hashing let go of the
    interpreter, and a network disk answers several at once."""
    findings: list[Finding] = []
    pixels: dict[ImageInfo, bytes] = {}
    pool = ThreadPoolExecutor(THREADS)
    done = 0
    try:
        for chunk in batched(images.items(), CHUNK):
            with decoder_warnings() as said:
                opened = list(pool.map(_open, chunk))
            for image, found in zip(chunk, opened, strict=True):
                found = _open_listening(image) if said else found
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


def batched(values: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of `size` values, the last one shorter (itertools has it from Python 3.12 on)."""
    iterator = iter(values)
    while chunk := list(islice(iterator, size)):
        yield chunk


def _open_listening(image: tuple[ImageInfo, str]) -> Finding | bytes:
    """One image alone, so that what the decoder complains about is known to be of this file."""
    with decoder_warnings() as said:
        found = _open(image)
    if said and not isinstance(found, Finding):
        return Finding("failure", image[1], f"{image[0].path} is damaged: {said[0]}")
    return found


def _open(image: tuple[ImageInfo, str]) -> Finding | bytes:
    try:
        return hashlib.blake2b(decode_image(image[0]).tobytes(), digest_size=16).digest()
    except DataError as error:
        return Finding("failure", image[1], str(error))
