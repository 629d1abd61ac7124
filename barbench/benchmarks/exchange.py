"""Writes the finished cells of a results folder for other tools, one file or two per cell: `barbench export --format
every_eval_ever`."""

from pathlib import Path
from typing import NamedTuple

from barbench.benchmarks.scenes import data_key, sentences_of
from barbench.errors import UnknownName, UsageError
from barbench.files import write_atomically
from barbench.results import eval_results, every_eval_ever
from barbench.results.every_eval_ever import Sentences
from barbench.results.exchange import EVAL_RESULTS, EVERY_EVAL_EVER, EXCHANGES, as_name, exchanged_records
from barbench.results.store import Store


class ExchangeRequest(NamedTuple):
    """The arguments of `barbench export` for an exchange format; None where one is not given."""

    format: str
    organization: str | None
    source: str | None
    subset: bool
    expressions: bool
    data: str | None


class Exchanged(NamedTuple):
    """The files, in the order of the cells, and notes that their reader needs."""

    paths: list[Path]
    notes: list[str]


def write_exchange(store: Store, request: ExchangeRequest, out: Path) -> Exchanged:
    """Write the files of every cell that is wanted; the same records give the same bytes.

    Raises:
        UnknownName: for an unknown format.
        UsageError: without an organization, for an option that the format does not have, and if no cell is wanted.
        DataError: if expressions are wanted and their counts or their sentences cannot be read.
    """
    # What does not go together.
    if request.format not in EXCHANGES:
        raise UnknownName("format", request.format, EXCHANGES)
    organization = request.organization or ""
    if not as_name(organization):
        raise UsageError(f"--format {request.format} needs --organization NAME: who ran the cells")
    if request.format == EVAL_RESULTS and request.expressions:
        raise UsageError("eval_results has no expressions; every_eval_ever has, or take --format csv")
    if request.format == EVERY_EVAL_EVER and request.source is not None:
        raise UsageError("every_eval_ever has no --source; eval_results has one")
    if request.data is not None and not request.expressions:
        raise UsageError("--data is where the sentences of --expressions are, which were not asked for")
    # The files; cells that were scored on the same data share its sentences, which are read once.
    records = exchanged_records(store.all(), request.subset)
    notes = [eval_results.NOTE] if request.format == EVAL_RESULTS else []
    paths = []
    sentences: dict[str, Sentences] = {}
    for record in records:
        key = data_key(record.cell)
        if request.expressions and key not in sentences:
            sentences[key] = sentences_of(record.cell, request.data)
        if request.format == EVAL_RESULTS:
            files = [eval_results.file(store, record, organization, request.source)]
        else:
            files = list(every_eval_ever.files(store, record, organization, sentences.get(key)))
        for name, text in files:
            path = out / name
            write_atomically(path, text.encode())
            paths.append(path)
    return Exchanged(paths, notes)
