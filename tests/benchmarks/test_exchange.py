"""Export for other tools, from the command line to the files: with the sentences of the data, refused in words."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from barbench.benchmarks.sentences import sentences_of
from barbench.cli import app
from barbench.datasets.sources import folder_source
from barbench.errors import UsageError
from barbench.results.record import DataIdentity, Record
from barbench.results.store import Store
from barbench.spec.dataset import resolve_dataset
from tests.results.cells import expressions, put_cell

LAB = ("--organization", "Example Lab")


@pytest.fixture
def scored(shapes_root: Path, tmp_path: Path) -> tuple[Store, Record]:
    """A cell of the shapes' data, with the ids of their sentences."""
    source = folder_source(shapes_root, resolve_dataset("refcoco+", shapes_root))
    store = Store(tmp_path / "results")
    data = DataIdentity(kind=source.kind, fingerprint=source.fingerprint)
    record = put_cell(store, "etris", data=data)
    raw = pickle.loads((shapes_root / "refcoco+" / "refs(unc).p").read_bytes())
    arrays = {}
    for split in record.splits:
        ids = [s["sent_id"] for r in raw if r["split"] == split for s in r["sentences"]]
        columns = expressions(0, images=len(ids), each=1)
        columns["sent_id"] = np.array(ids)
        arrays |= {f"{split}/{name}": column for name, column in columns.items()}
    store.save(record, arrays)
    return store, record


def ask(store: Store, *arguments: object) -> tuple[int, str, str]:
    words = ["export", "--results", str(store.folder), *map(str, arguments)]
    found = CliRunner().invoke(app, words)
    error = str(found.exception) if isinstance(found.exception, Exception) else found.stderr
    return found.exit_code, found.stdout, error


def test_sentences_are_those_of_the_data(scored: tuple[Store, Record], shapes_root: Path) -> None:
    _, record = scored
    found = sentences_of(record.cell, str(shapes_root))
    raw = pickle.loads((shapes_root / "refcoco+" / "refs(unc).p").read_bytes())
    for split, sentences in found.items():
        texts = {s["sent_id"]: s["sent"] for r in raw if r["split"] == split for s in r["sentences"]}
        assert sentences == texts
    other = record.cell.model_copy(update={"data": DataIdentity(kind="shapes", fingerprint="other")})
    with pytest.raises(UsageError, match="was scored on"):
        sentences_of(other, str(shapes_root))


def test_every_cell_is_written_with_its_expressions(
    scored: tuple[Store, Record], shapes_root: Path, tmp_path: Path
) -> None:
    store, _ = scored
    out = tmp_path / "out"
    wanted = ("--format", "every_eval_ever", *LAB, "--out", out)
    code, printed, error = ask(store, *wanted, "--expressions", "--data", shapes_root)
    assert (code, error) == (0, "")
    samples, cell = (Path(line) for line in printed.splitlines())
    before = (samples.read_bytes(), cell.read_bytes())
    rows = [json.loads(line) for line in samples.read_text("utf-8").splitlines()]
    loaded = json.loads(cell.read_text("utf-8"))
    assert out / loaded["detailed_evaluation_results"]["file_path"] == samples
    assert len(rows) == loaded["detailed_evaluation_results"]["total_rows"] > 0
    assert all(row["input"]["raw"] for row in rows)
    ask(store, *wanted, "--expressions", "--data", shapes_root)
    assert (samples.read_bytes(), cell.read_bytes()) == before


def test_the_hubs_files_say_what_they_need(scored: tuple[Store, Record], tmp_path: Path) -> None:
    store, record = scored
    code, printed, error = ask(store, "--format", "eval_results", *LAB, "--out", tmp_path / "out")
    assert code == 0
    assert "registered benchmark" in error
    assert printed.splitlines() == [str(tmp_path / "out" / record.cell.stem() / ".eval_results/refcoco-plus.yaml")]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--format", "every_eval_ever"), "needs --organization"),
        (("--format", "eval_results", "--organization", "/"), "needs --organization"),
        (("--format", "eval_results", *LAB, "--expressions"), "has no expressions"),
        (("--format", "every_eval_ever", *LAB, "--source", "https://example.org"), "has no --source"),
        (("--format", "every_eval_ever", *LAB, "--data", "shapes"), "sentences of --expressions"),
        (("--format", "csv", *LAB), "are for --format every_eval_ever and eval_results"),
        (("--format", "xlsx"), "unknown format 'xlsx'"),
    ],
)
def test_a_wrong_request_writes_nothing(
    arguments: tuple[str, ...], said: str, scored: tuple[Store, Record], tmp_path: Path
) -> None:
    store, _ = scored
    code, _, error = ask(store, *arguments, "--out", tmp_path / "out")
    assert code != 0
    assert said in error
    assert not (tmp_path / "out").exists()
