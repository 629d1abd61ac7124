"""Records of a later version: one more field, one more file, one more schema. Reading changes nothing in the folder.

Version 0.2.0 forbade unknown fields and renamed what it could not read. A folder that a later version had written was
lost by looking at it: `load_results`, `report`, `export` and `compare` renamed every record to `*.corrupt-1`, and the
next `run` of the folder's owner trained all cells again.
"""

import hashlib
import json
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

import barbench as bb
from barbench.errors import DataError, UsageError
from barbench.reports.write import write_reports
from barbench.results.export import write_table
from barbench.results.frames import load, load_expressions
from barbench.results.merge import merge
from barbench.results.record import Record
from barbench.results.store import Store
from tests.results.conftest import Put

Change = Callable[[dict[str, Any]], None]


def rewrite(path: Path, change: Change) -> dict[str, Any]:
    """Change the fields of a record as a later version would have written them."""
    fields: dict[str, Any] = json.loads(path.read_text())
    change(fields)
    path.write_text(json.dumps(fields))
    return fields


def content(folder: Path) -> dict[str, str]:
    """The hash of each file, by its path."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            found[str(path.relative_to(folder))] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def read_by_all(folder: Path, out: Path) -> None:
    """What reads a results folder."""
    load_expressions(folder)
    write_table(load(folder), "csv", out / "table.csv")
    for work in (
        lambda: write_reports(Store(folder), out, formats=("md", "latex", "html")),
        lambda: bb.compare(folder, "etris", "snf"),
        lambda: merge([folder], out / "merged"),
    ):
        try:
            work()
        except (UsageError, DataError):  # where no record can be read
            continue


def in_record(fields: dict[str, Any]) -> None:
    fields["energy_kwh"] = 0.1


def in_split(fields: dict[str, Any]) -> None:
    fields["splits"]["val"]["boundary"] = {"f": 0.5}


def in_cell_at_default(fields: dict[str, Any]) -> None:
    fields["cell"]["augmentation"] = "none"


def in_data_at_default(fields: dict[str, Any]) -> None:
    fields["cell"]["data"]["license"] = None


def one_more_score(fields: dict[str, Any]) -> None:
    fields["splits"]["val"]["scores"]["boundary_iou"] = 0.4


FIELDS = (in_record, in_split, in_cell_at_default, in_data_at_default, one_more_score)


@pytest.mark.parametrize("change", FIELDS)
def test_one_more_field(change: Change, store: Store, put: Put, tmp_path: Path) -> None:
    saved = [put("etris"), put("snf", better=0.1)]
    for record in saved:
        rewrite(store.path(record.cell), change)
    before = content(store.folder)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert sorted(set(bb.load_results(store.folder)["id"])) == sorted(record.id for record in saved)
        read_by_all(store.folder, tmp_path)
    assert content(store.folder) == before
    found = Store(store.folder)
    assert [record.cell for record in found.all()] == [record.cell for record in saved]
    assert found.load_to_write(saved[0].cell) is not None  # so `run` skips the cell
    # A copy holds the field still.
    merged = tmp_path / "merged" / store.path(saved[0].cell).name
    assert merged.read_bytes() == store.path(saved[0].cell).read_bytes()


def test_a_field_that_changes_the_cell_is_in_its_id(store: Store, put: Put) -> None:
    """A later version's cell is another one than that without the field, although what the field means is unknown."""
    plain = put("etris")
    path = store.path(plain.cell)
    fields = json.loads(path.read_text())
    # `augmentation` is not at its default and in the id; `weather` is at its default, and so it is not.
    fields["cell"] |= {"augmentation": "flip", "weather": False}
    in_id = plain.cell.model_dump(mode="json", exclude_defaults=True) | {"augmentation": "flip"}
    in_id["protocol"] = in_id.pop("dataset")
    text = json.dumps(in_id, sort_keys=True, separators=(",", ":"))
    fields["id"] = hashlib.sha256(text.encode()).hexdigest()[:12]
    other = path.with_name(path.name.replace(plain.id, fields["id"]))
    other.write_text(json.dumps(fields))
    records = store.all()
    assert store.unreadable == []
    assert {record.id for record in records} == {plain.id, fields["id"]}
    frame = load(store.folder)
    assert set(frame["augmentation"].dropna()) == {"flip"}


def test_unknown_fields_are_kept_where_a_record_is_saved_again(store: Store, put: Put, tmp_path: Path) -> None:
    record = put("etris")
    rewrite(store.path(record.cell), in_record)
    loaded = store.load(record.cell)
    assert loaded is not None
    path = Store(tmp_path / "other").save(loaded)
    assert json.loads(path.read_text())["energy_kwh"] == 0.1


@pytest.mark.parametrize("fields", [{"cell": 3}, {"cell": {f"f{n}": n for n in range(40)}}, {"cell": {"data": 1}}])
def test_what_is_no_cell_is_refused_at_once(fields: Mapping[str, Any], store: Store, put: Put) -> None:
    path = store.path(put("etris").cell)
    known = json.loads(path.read_text())
    if isinstance(fields["cell"], dict):
        fields = {"cell": known["cell"] | fields["cell"]}
    path.write_text(json.dumps(known | fields))
    assert store.all() == []
    assert len(store.unreadable) == 1


def test_one_more_file(store: Store, put: Put, tmp_path: Path) -> None:
    """Beside a record, named by it or not; a JSON file, too, is no record."""
    record = put("etris")
    path = store.path(record.cell)
    beside = [path.with_suffix(".energy.json"), path.with_suffix(".curve.parquet"), store.folder / "index.json"]
    for file in beside:
        file.write_text("{}")
    rewrite(path, lambda fields: fields["files"].update(energy="0" * 64))
    before = content(store.folder)
    found = Store(store.folder)
    assert [each.id for each in found.all()] == [record.id]
    assert found.unreadable == []
    read_by_all(store.folder, tmp_path)
    assert content(store.folder) == before
    # What belongs to the record is copied with it.
    assert {file.name for file in (tmp_path / "merged").iterdir()} >= {file.name for file in beside[:2]}


def test_one_more_schema(store: Store, put: Put, tmp_path: Path) -> None:
    record = put("etris")
    rewrite(store.path(record.cell), lambda fields: fields.update(schema_version=3, splits=[]))
    before = content(store.folder)
    with pytest.warns(UserWarning, match="schema version 3 is of a newer barbench; this one reads 1 and 2: update it"):
        assert bb.load_results(store.folder).empty
    with pytest.warns(UserWarning, match="newer barbench"):
        read_by_all(store.folder, tmp_path)
    assert content(store.folder) == before


def test_a_misspelled_field_is_still_a_mistake_in_code(put: Put) -> None:
    fields = put("etris").model_dump() | {"ledgr": {}}
    with pytest.raises(ValueError, match="Extra inputs are not permitted: ledgr"):
        Record.model_validate(fields)
