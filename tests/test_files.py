"""Files are complete or absent, and what is set aside stays."""

from pathlib import Path

import pytest

from barbench import files
from barbench.files import atomic_file, set_aside, write_atomically


def test_crash_while_writing_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file.json"
    write_atomically(path, b"old")

    def fail(source: Path, target: Path) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(files.os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, b"new")
    assert [file.read_bytes() for file in tmp_path.iterdir()] == [b"old"]


def test_a_block_that_raises_leaves_nothing(tmp_path: Path) -> None:
    def interrupted() -> None:
        with atomic_file(tmp_path / "new" / "file") as file:
            file.write(b"half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        interrupted()
    assert list((tmp_path / "new").iterdir()) == []


def test_files_that_belong_together_get_the_same_number(tmp_path: Path) -> None:
    a, b = tmp_path / "a.npz", tmp_path / "a.json"
    for content, number in (("first", 1), ("second", 2)):
        b.write_text(content)
        if number == 2:
            a.write_text("arrays")
        assert set_aside(a, b) == [tmp_path / f"a.npz.corrupt-{number}", tmp_path / f"a.json.corrupt-{number}"]
    found = {file.name: file.read_text() for file in tmp_path.iterdir()}
    assert found == {"a.json.corrupt-1": "first", "a.json.corrupt-2": "second", "a.npz.corrupt-2": "arrays"}
