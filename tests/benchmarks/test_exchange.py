"""Export for other tools, from the command line to the files: with the sentences of the data, refused in words."""

import json
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from typer.testing import CliRunner

from barbench.benchmarks.scenes import SceneFinder, sentences_of
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
        (("--format", "csv", "--data", "shapes"), "sentences of --expressions"),
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


def test_the_table_of_expressions_has_their_sentences_and_files(
    scored: tuple[Store, Record], shapes_root: Path, tmp_path: Path
) -> None:
    store, record = scored
    path = tmp_path / "expressions.csv"
    code, _, _ = ask(store, "--expressions", "--data", shapes_root, "--out", path)
    assert code == 0
    table = pd.read_csv(path)
    raw = pickle.loads((shapes_root / "refcoco+" / "refs(unc).p").read_bytes())
    texts = {s["sent_id"]: s["sent"] for r in raw for s in r["sentences"]}
    assert len(table) == len(store.expressions(record.cell)["val/sent_id"]) + len(
        store.expressions(record.cell)["testA/sent_id"]
    )
    assert table["sentence"].tolist() == [texts[number] for number in table["sent_id"]]
    names = list(table.columns)
    assert names[names.index("image_id") + 1 :][:2] == ["sentence", "file_name"]
    # Of data that are not there, ids and numbers are left.
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    code, _, error = ask(store, "--expressions", "--data", elsewhere, "--out", path)
    assert code == 0
    assert "no sentences and images of refcoco+" in error
    assert pd.read_csv(path)["sentence"].isna().all()
    code, _, error = ask(store, "--expressions", "--data", tmp_path / "gone", "--out", path)
    assert code != 0
    assert "there is no such folder" in error


def test_scenes_are_the_images_and_objects_of_the_files(scored: tuple[Store, Record], shapes_root: Path) -> None:
    _, record = scored
    find = SceneFinder(str(shapes_root))
    found = find(record.cell)
    assert find(record.cell) is found  # read once
    raw = pickle.loads((shapes_root / "refcoco+" / "refs(unc).p").read_bytes())
    instances = json.loads((shapes_root / "refcoco+" / "instances.json").read_text())
    files = {image["id"]: image["file_name"] for image in instances["images"]}
    areas = {one["id"]: one["area"] for one in instances["annotations"]}
    categories = {one["id"]: one["name"] for one in instances["categories"]}
    for reference in raw:
        if reference["split"] == "val":
            scenes = found["val"]
            assert scenes.file_names[reference["image_id"]] == files[reference["image_id"]]
            (photo,) = (shapes_root / "images").rglob(files[reference["image_id"]])
            assert np.array_equal(scenes.image(reference["image_id"]), np.asarray(Image.open(photo).convert("RGB")))
            assert scenes.mask(reference["ann_id"]).sum() == pytest.approx(areas[reference["ann_id"]], abs=1)
            text, category = scenes.sentences[reference["sentences"][0]["sent_id"]]
            assert (text, category) == (reference["sentences"][0]["sent"], categories[reference["category_id"]])
    # A cell of real data is not looked for among generated ones.
    other = record.cell.model_copy(update={"data": DataIdentity(kind="refer", fingerprint="other")})
    shapes = SceneFinder("shapes")
    assert shapes(other) == {}
    assert shapes.notes == []
