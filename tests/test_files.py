"""Files are complete or absent, and what is set aside stays."""

import os
import subprocess
from pathlib import Path

import pytest

from barbench import files
from barbench.files import atomic_file, host_id, is_left_behind, own_mark, set_aside, sweep, write_atomically


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


@pytest.mark.parametrize("name", ["x" * 250 + ".json", "\u00e4" * 125 + ".json", "x.json"])
def test_names_as_long_as_names_can_be(name: str, tmp_path: Path) -> None:
    """The temporary file's name has a mark more, and 255 bytes at most; what a killed process left is swept."""
    with atomic_file(tmp_path / name) as file:
        file.write(b"whole")
        [temporary] = tmp_path.iterdir()
        assert is_left_behind(temporary) is False
        assert len(temporary.name.encode()) <= 255
    assert [(each.name, each.read_bytes()) for each in tmp_path.iterdir()] == [(name, b"whole")]


def test_files_that_belong_together_get_the_same_number(tmp_path: Path) -> None:
    a, b = tmp_path / "a.npz", tmp_path / "a.json"
    for content, number in (("first", 1), ("second", 2)):
        b.write_text(content)
        if number == 2:
            a.write_text("arrays")
        assert set_aside(a, b) == [tmp_path / f"a.npz.corrupt-{number}", tmp_path / f"a.json.corrupt-{number}"]
    found = {file.name: file.read_text() for file in tmp_path.iterdir()}
    assert found == {"a.json.corrupt-1": "first", "a.json.corrupt-2": "second", "a.npz.corrupt-2": "arrays"}


def test_two_containers_whose_processes_have_one_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both write the same file at the same time; each ends with a whole one."""
    monkeypatch.setattr(files.os, "getpid", lambda: 1)
    path = tmp_path / "file"
    with atomic_file(path) as one, atomic_file(path) as two:
        one.write(b"one")
        two.write(b"twice")
        one.flush()
    assert path.read_bytes() == b"one"  # the outer block ends last
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_only_what_a_dead_process_of_this_host_left_is_swept(tmp_path: Path) -> None:
    with subprocess.Popen(["true"]) as dead:
        pass
    gone, here, elsewhere, old = (
        tmp_path / f".record.json.{mark}.tmp"
        for mark in (f"{host_id()}-{dead.pid}-01234567", own_mark(), "00000000-1-01234567", "11111111-1-01234567")
    )
    for path in (gone, here, elsewhere, old):
        path.write_text("half")
    day_ago = old.stat().st_mtime - 2 * files.DAY
    os.utime(old, (day_ago, day_ago))
    assert [is_left_behind(path) for path in (gone, here, elsewhere, old)] == [True, False, False, True]
    sweep(tmp_path)
    assert set(tmp_path.iterdir()) == {here, elsewhere}


def test_a_host_is_known_by_eight_digits_that_name_nobody() -> None:
    assert host_id() == host_id()
    assert len(host_id()) == 8
    assert int(host_id(), 16) >= 0
    assert os.uname().nodename not in host_id()
