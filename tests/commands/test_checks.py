"""Arguments that nobody can have meant, and streams that cannot show everything."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from barbench.commands.checks import expanded
from barbench.errors import UsageError
from barbench.spec.backbone import check_weights

REPOSITORY = Path(__file__).parents[2]


def ask(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "barbench.cli", *arguments]
    return subprocess.run(command, cwd=REPOSITORY, env=os.environ | variables, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("word", "read"),
    [
        ("~/x", "/people/me/x"),
        ("~", "/people/me"),
        ("--out=~/x", "--out=/people/me/x"),
        ("tiny,~/b", "tiny,/people/me/b"),
        ("a~b", "a~b"),
        ("clip=~", "clip=~"),  # YAML's null
        ("about ~/ this", "about ~/ this"),
    ],
)
def test_home_is_read_where_a_path_begins(word: str, read: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/people/me")
    assert expanded(word) == read


@pytest.mark.parametrize(
    "arguments",
    [
        ["data", "verify", ""],
        ["data", "audit", "--data", " "],
        ["run", "--seeds", ","],
        ["run", "--set", ""],
        ["report", "--out", ""],
        ["list", "methods", "--backbone", ""],
    ],
)
def test_an_empty_argument_is_an_error(arguments: list[str]) -> None:
    answer = ask(*arguments)
    assert answer.returncode == 2
    assert "is empty" in answer.stderr


def test_weights_that_do_not_exist_do_not_pass_a_plan() -> None:
    answer = ask("run", "--methods", "snf", "--backbone", "tiny", "--weights", "~/nowhere.pt", "--plan")
    assert answer.returncode == 2
    assert "there is no such file" in answer.stderr


def test_what_a_stream_cannot_encode_is_spelled_out() -> None:
    answer = ask("list", "splits", PYTHONIOENCODING="ascii")
    assert answer.returncode == 0
    assert "refcoco" in answer.stdout


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"", "empty"), (b"<!DOCTYPE html>", "web page"), (b"version https://git-lfs.github.com/spec/v1", "LFS")],
)
def test_what_is_plainly_no_weights_is_named_before_anything_runs(content: bytes, says: str, tmp_path: Path) -> None:
    (tmp_path / "w.pt").write_bytes(content)
    with pytest.raises(UsageError, match=f"w.pt holds no weights: it is .*{says}"):
        check_weights(str(tmp_path / "w.pt"))
