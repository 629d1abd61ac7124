"""Records survive crashes, corruption and newer schemas: nothing is lost silently, nothing is overwritten."""

import hashlib
import json
import math
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from barbench.errors import DataError, UsageError
from barbench.files import set_aside, write_atomically
from barbench.results import store as store_module
from barbench.results.record import Cell, DataIdentity, EpochLog, Record, Scores, SplitResult
from barbench.results.store import Store


def cell(**changes: object) -> Cell:
    fields: dict[str, object] = {
        "method": "barleria",
        "backbone": "tiny",
        "weights": "pretrained",
        "dataset": "refcoco+",
        "recipe": {"name": "demo", "lr": 1e-3},
        "seed": 0,
        "data": {"kind": "shapes", "fingerprint": "f00d"},
    }
    return Cell.model_validate(fields | changes)


def record(of: Cell, **changes: object) -> Record:
    third = Scores(miou=1 / 3, oiou=0.1 + 0.2, p50=0, p60=0, p70=0, p80=0, p90=0, n=3)
    fields: dict[str, object] = {
        "id": of.id(),
        "cell": of,
        "title": "BarLeRIa",
        "composition": ("SNF", "LIM", "GST"),
        "ledger": {"adapter": 2_205_920, "positional": 0, "head": 22_671_361, "frozen": 1},
        "status": "done",
        "splits": {"val": SplitResult(scores=third, column="val", images=2, references=3)},
        "history": [EpochLog(epoch=1, loss=0.25, lr=1e-4, seconds=1.5, steps=10)],
    }
    return Record.model_validate(fields | changes)


def expressions() -> dict[str, np.ndarray]:
    return {"val/sent_id": np.array([4, 5, 6]), "val/intersection": np.array([1, 0, 9])}


def test_round_trip_is_exact_and_stable(tmp_path: Path) -> None:
    store, saved = Store(tmp_path / "new" / "results"), record(cell())
    path = store.save(saved, expressions())
    first = path.read_bytes()
    npz = path.with_suffix(".npz")
    saved = saved.model_copy(update={"files": {"expressions": hashlib.sha256(npz.read_bytes()).hexdigest()}})
    assert store.load(saved.cell) == saved
    assert store.all() == [saved]
    loaded = store.expressions(saved.cell)
    assert {name: list(values) for name, values in loaded.items()} == {
        "val/sent_id": [4, 5, 6],
        "val/intersection": [1, 0, 9],
    }
    npz = path.with_suffix(".npz").read_bytes()
    store.save(saved, expressions())
    assert (path.read_bytes(), path.with_suffix(".npz").read_bytes()) == (first, npz)
    assert "0.3333333333333333" in first.decode()
    assert store.unreadable == store.set_aside == []


def test_stem_is_readable_and_safe_on_any_file_system() -> None:
    plain = cell()
    assert plain.stem() == f"barleria--tiny--refcoco+--seed0--{plain.id()}"
    outside = cell(method="my.package:Method", backbone="hf-hub:org/name")
    assert outside.stem() == f"my.package_Method--hf-hub_org_name--refcoco+--seed0--{outside.id()}"


@pytest.mark.parametrize("length", [100, 180, 217, 255, 4000])
def test_a_cell_with_a_long_name_is_saved_set_aside_and_found(length: int, tmp_path: Path) -> None:
    """A name has at most 255 bytes. What is cut are the readable parts; names that could be written before stay."""
    store, long = Store(tmp_path), cell(backbone="x" * length)
    whole = f"barleria--{long.backbone}--refcoco+--seed0--{long.id()}"
    end = f"--seed0--{long.id()}"
    assert long.stem() == (whole if len(whole) <= 225 else whole[: 225 - len(end)] + end)
    path = store.save(record(long), expressions())
    assert store.load(long) is not None
    assert [found.cell for found in store.all()] == [long]
    store.scratch(long).mkdir(parents=True)
    assert all(aside.exists() for aside in set_aside(store.arrays(long), path))


def test_identity_depends_on_every_field_and_not_on_the_order_of_keys() -> None:
    base = cell()
    assert base.id() == cell(recipe={"lr": 1e-3, "name": "demo"}).id()
    changed = [
        cell(method="snf"),
        cell(options={"dim": 64}),
        cell(backbone="ViT-B-16"),
        cell(weights="random"),
        cell(image_size=416),
        cell(dataset="refcoco"),
        cell(recipe={"name": "demo", "lr": 1e-4}),
        cell(seed=1),
        cell(data=DataIdentity(kind="refer", fingerprint="f00d")),
        cell(data={"kind": "shapes", "fingerprint": "beef"}),
        cell(precision="bf16"),
        cell(processes=2),
        cell(held_out=20),
        cell(context_length=30),
        cell(exif="apply"),
        cell(subset={"evaluate": 60}),
        cell(neck="none"),
        cell(neck="none", head_form="linear"),
    ]
    assert len({base.id(), *(other.id() for other in changed)}) == 1 + len(changed)
    touched = {name for other in changed for name in Cell.model_fields if getattr(other, name) != getattr(base, name)}
    assert touched | {"scaled"} == set(Cell.model_fields)  # a new field needs its line above
    scaled = cell(options={"dim": 64}, scaled=("dim",))
    assert scaled.id() == cell(options={"dim": 64}).id(), "who chose an option changes no result"
    assert scaled.chosen == {}


def test_nan_is_refused_everywhere(tmp_path: Path) -> None:
    with pytest.raises(ValidationError):
        Scores(miou=math.nan, oiou=0, p50=0, p60=0, p70=0, p80=0, p90=0, n=1)
    with pytest.raises(ValidationError):
        EpochLog(epoch=1, loss=math.inf, lr=1e-4, seconds=1, steps=1)
    with pytest.raises(ValidationError, match=r"recipe\.lr"):
        cell(recipe={"lr": math.nan})
    hidden = record(cell()).model_copy(update={"environment": {"load": math.nan}})  # copies are not validated
    with pytest.raises(ValueError, match="not JSON compliant"):
        Store(tmp_path).save(hidden, expressions())
    assert list(tmp_path.iterdir()) == []


def test_nan_written_by_another_hand_is_refused(tmp_path: Path) -> None:
    store = Store(tmp_path)
    path = store.save(record(cell()))
    path.write_text(path.read_text().replace("0.3333333333333333", "NaN"))
    assert store.load(cell()) is None
    assert "NaN" in store.unreadable[0].reason


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 200_000, b'{"schema_version": 1}'])
def test_corrupt_record_is_set_aside_by_whoever_writes_it_next(tmp_path: Path, content: bytes) -> None:
    store, good = Store(tmp_path), record(cell(seed=1))
    store.save(good)
    path = store.save(record(cell()), expressions())
    npz = path.with_suffix(".npz").read_bytes()
    path.write_bytes(content)
    # Reading names it and leaves it as it is.
    assert store.all() == [good]
    assert store.load(cell()) is None
    assert [found.path for found in store.unreadable] == [path]
    assert path.read_bytes() == content
    assert store.set_aside == []
    # The cell runs again, and its place is needed.
    assert store.load_to_write(cell()) is None
    assert store.unreadable == []
    [aside] = store.set_aside
    assert aside.path == path
    assert aside.renamed.name == f"{path.name}.corrupt-1"
    assert aside.renamed.read_bytes() == content
    assert aside.reason
    assert path.with_suffix(".npz.corrupt-1").read_bytes() == npz


def test_a_second_corrupt_record_does_not_overwrite_the_first(tmp_path: Path) -> None:
    store, path = Store(tmp_path), Store(tmp_path).path(cell())
    for content in ("first", "second"):
        path.write_text(content)
        assert store.load_to_write(cell()) is None
    names = [f"{path.name}.corrupt-1", f"{path.name}.corrupt-2"]
    assert [aside.renamed.name for aside in store.set_aside] == names
    assert [(tmp_path / name).read_text() for name in names] == ["first", "second"]


def test_newer_schema_is_named_as_such_and_never_replaced(tmp_path: Path) -> None:
    store = Store(tmp_path)
    path = store.save(record(cell()))
    fields = json.loads(path.read_text()) | {"schema_version": 3, "something_new": True}
    path.write_text(json.dumps(fields))
    assert store.all() == []
    reason = "schema version 3 is of a newer barbench; this one reads 1 and 2: update it"
    assert store.notes() == [f"{path} cannot be read ({reason}); it was left as it is"]
    with pytest.raises(UsageError, match=r"cannot be replaced: schema version 3 .*another folder with --results"):
        store.load_to_write(cell())
    assert json.loads(path.read_text()) == fields
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_notes_are_few(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for seed in range(5):
        store.path(cell(seed=seed)).write_text("{")
    assert store.all() == []
    assert len(store.notes()) == 4
    assert store.notes()[-1] == f"2 more files of {tmp_path} cannot be read"


def test_a_copy_under_another_name_does_not_count_twice(tmp_path: Path) -> None:
    store, saved = Store(tmp_path), record(cell())
    path = store.save(saved)
    (tmp_path / f"barleria--copy--refcoco+--seed0--{saved.id}.json").write_bytes(path.read_bytes())
    assert store.all() == [saved]
    assert "holds the record of" in store.unreadable[0].reason


def test_other_files_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "matrix.json").write_text("not a record")
    (tmp_path / "cells").mkdir()
    store = Store(tmp_path)
    assert store.all() == store.unreadable == []
    assert (tmp_path / "matrix.json").read_text() == "not a record"
    assert Store(tmp_path / "absent").all() == []


def test_crash_between_arrays_and_record_leaves_no_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Killed(BaseException):
        pass

    def die_at_json(path: Path, content: bytes) -> None:
        if path.suffix == ".json":
            raise Killed
        write_atomically(path, content)

    store, saved = Store(tmp_path), record(cell())
    with monkeypatch.context() as patch:
        patch.setattr(store_module, "write_atomically", die_at_json)
        with pytest.raises(Killed):
            store.save(saved, expressions())
    assert [file.suffix for file in tmp_path.iterdir()] == [".npz"]
    assert store.load(saved.cell) is None
    assert store.all() == store.unreadable == []
    store.save(saved, expressions())
    assert [kept.id for kept in store.all()] == [saved.id]


def test_files_of_another_attempt_are_refused(tmp_path: Path) -> None:
    """As where two attempts at a cell ended at the same time: each file is whole, but they do not belong together."""
    store = Store(tmp_path)
    write_atomically(store.tuned(cell()), b"weights")
    path = store.save(record(cell()), expressions())
    assert store.tuned_weights(cell()) == b"weights"
    write_atomically(store.tuned(cell()), b"others")
    with pytest.raises(DataError, match="is not the file that the record was saved with"):
        store.tuned_weights(cell())
    np.savez(path.with_suffix(".npz"), **{"val/sent_id": np.array([4, 5, 7])})
    with pytest.raises(DataError, match=r"is damaged .*: run the cell again"):
        store.expressions(cell())
    assert store.load_to_write(cell()) is None
    assert "not the file that the record was saved with" in store.set_aside[0].reason


def test_records_of_before_attempts_and_files_were_kept(tmp_path: Path) -> None:
    store = Store(tmp_path)
    path = store.save(record(cell()), expressions())
    fields = json.loads(path.read_text())
    del fields["attempts"], fields["files"]
    path.write_text(json.dumps(fields))
    assert (store.all()[0].attempts, store.all()[0].files) == ((), {})
    assert list(store.expressions(cell())) == ["val/sent_id", "val/intersection"]


def test_saving_a_failure_removes_arrays_of_an_earlier_attempt(tmp_path: Path) -> None:
    store = Store(tmp_path)
    path = store.save(record(cell()), expressions())
    failed = record(cell(), status="failed", reason="killed", splits={})
    store.save(failed)
    assert store.load(cell()) == failed
    assert not path.with_suffix(".npz").exists()
    with pytest.raises(DataError, match="saved without its expressions"):
        store.expressions(cell())


@pytest.mark.parametrize("hashed", [True, False])
def test_damaged_arrays_are_set_aside_with_their_record(hashed: bool, tmp_path: Path) -> None:
    store = Store(tmp_path)
    path = store.save(record(cell()), expressions())
    if not hashed:  # as in records of before files were kept
        path.write_text(json.dumps(json.loads(path.read_text()) | {"files": {}}))
    npz = path.with_suffix(".npz")
    npz.write_bytes(npz.read_bytes()[:40])
    with pytest.raises(DataError, match=r"damaged.*run the cell again"):
        store.expressions(cell())
    assert sorted(tmp_path.iterdir()) == [path, npz]
    assert store.load_to_write(cell()) is None
    assert sorted(file.name for file in tmp_path.iterdir()) == [f"{path.name}.corrupt-1", f"{npz.name}.corrupt-1"]


def test_arrays_of_objects_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="val/words"):
        Store(tmp_path).save(record(cell()), {"val/words": np.array(["a", None], dtype=object)})
    assert list(tmp_path.iterdir()) == []


def test_record_is_consistent() -> None:
    with pytest.raises(ValidationError, match="is not its cell's"):
        record(cell(), id="0" * 12)
    with pytest.raises(ValidationError, match="needs a reason"):
        record(cell(), status="failed", splits={})
    with pytest.raises(ValidationError, match="has no reason"):
        record(cell(), reason="but why")
    with pytest.raises(ValidationError, match="Extra inputs"):
        record(cell(), surprise=1)
    with pytest.raises(ValidationError, match="frozen"):
        record(cell()).title = "other"  # type: ignore[misc]


def test_records_of_before_mixed_training_still_load(tmp_path: Path) -> None:
    store, saved = Store(tmp_path), record(cell())
    path = store.save(saved)
    fields = json.loads(path.read_text())
    del fields["training"], fields["splits"]["val"]["dataset"], fields["splits"]["val"]["shared_images"]
    path.write_text(json.dumps(fields))
    [loaded] = store.all()
    assert loaded == saved
    assert loaded.dataset_of("val") == "refcoco+"
    assert loaded.training is None


def test_a_mixed_cell_names_the_dataset_of_each_split(tmp_path: Path) -> None:
    third = Scores(miou=1 / 3, oiou=0.3, p50=0, p60=0, p70=0, p80=0, p90=0, n=3)
    splits = {
        f"{protocol} val": SplitResult(scores=third, column="val", dataset=protocol, images=2, references=3)
        for protocol in ("refcoco", "refcoco+")
    }
    training = {"references": 9, "images": 4, "mixing": "clean", "removed_references": 2, "removed_images": 1}
    saved = record(cell(dataset="mixed"), splits=splits, training=training)
    Store(tmp_path).save(saved)
    [loaded] = Store(tmp_path).all()
    assert loaded == saved
    assert {name: loaded.dataset_of(name) for name in loaded.splits} == {
        "refcoco val": "refcoco",
        "refcoco+ val": "refcoco+",
    }


@pytest.mark.parametrize("version", [0, "1", None, 1.5, True])
def test_an_older_or_strange_schema_is_never_misread(version: object, tmp_path: Path) -> None:
    store = Store(tmp_path)
    path = store.save(record(cell()))
    fields = json.loads(path.read_text()) | {"schema_version": version}
    path.write_text(json.dumps(fields))
    assert store.load(cell()) is None
    assert json.loads(path.read_text()) == fields
    assert store.load_to_write(cell()) is None
    assert json.loads(store.set_aside[0].renamed.read_text()) == fields


def test_a_file_that_may_not_be_opened_is_named_and_not_taken_for_a_damaged_one(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.path(cell()).mkdir()
    assert store.all() == []
    assert "Is a directory" in store.unreadable[0].reason
    with pytest.raises(DataError, match="cannot be set aside"):
        store.load_to_write(cell())
    assert store.path(cell()).is_dir()
