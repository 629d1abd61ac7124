"""Arguments that nobody can have meant, and streams that cannot show everything."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from barbench.commands.checks import expanded, probability

REPOSITORY = Path(__file__).parents[2]


def ask(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "barbench.cli", *arguments]
    return subprocess.run(command, cwd=REPOSITORY, env=os.environ | variables, capture_output=True, text=True)


@pytest.mark.parametrize("value", [35.0, -1.0, float("nan"), float("inf")])
def test_a_threshold_is_a_probability(value: float) -> None:
    with pytest.raises(typer.BadParameter, match="not a probability"):
        probability(value)


def test_the_ends_of_probabilities_count() -> None:
    assert [probability(v) for v in (0.0, 0.35, 1.0, None)] == [0.0, 0.35, 1.0, None]


def test_home_is_expanded_in_paths_and_in_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/people/me")
    assert expanded(Path("~/x")) == Path("/people/me/x")
    assert expanded("tiny,~/b") == "tiny,/people/me/b"
    assert expanded("a~b") == "a~b"


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
