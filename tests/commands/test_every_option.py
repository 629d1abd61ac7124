"""Every option of every command, with values that nobody can have meant: one readable answer, exit code 2, at once.

The options are read from the commands themselves, so that a new one is tested from its first day.
"""

import json
import os
import subprocess
import sys
import types
import typing
from collections.abc import Callable, Iterator
from enum import Enum
from inspect import signature
from pathlib import Path
from typing import Any, Literal, NamedTuple

import cv2
import numpy as np
import pytest
import typer
from typer.models import ArgumentInfo

from barbench import cli
from barbench.results.store import Store
from tests.results.cells import put_cell

REPOSITORY = Path(__file__).parents[2]
HUGE = "99999999999999999999"
BAD: dict[type, tuple[str, ...]] = {
    int: ("", "-1", "nan", "1.5", HUGE),
    float: ("", "-1", "inf", "1e9", "nan"),
    Path: ("", "~/missing/x"),
    Literal: ("", "nosuch"),  # type: ignore[dict-item]
    str: ("", " , ", "~/missing/x", "nosuch:,;n"),
}

# Arguments with which a command would run; W is the folder of the fixture `world`.
RUNS = {
    "run": "--methods head-only --backbone tiny --recipe demo --dataset refcoco+ --data W/data --results W/new --plan",
    "report": "--results W/records",
    "compare": "snf etris --results W/records",
    "panels": "--results W/records --data W/data",
    "export": "--results W/records",
    "profile": "--methods head-only",
    "check": "--data W/data --methods head-only --backbone tiny --baseline W/none.json",
    "evaluate": "--weights W/w.pth --codebase etris --backbone tiny --data W/data",
    "predict": "W/photo.jpg thing --cell snf --results W/records",
    "show": "snf",
    "tune": "--methods head-only --data W/data --results W/new",
    "status": "--results W/records",
    "stop": "run cell --results W/records",
    "list methods": "",
    "list backbones": "",
    "list datasets": "",
    "list splits": "",
    "list recipes": "",
    "list suites": "",
    "data make-shapes": "W/new",
    "data import": "W/table.csv W/new --dataset mine",
    "data verify": "W/data",
    "data audit": "--data W/data",
    "results merge": "W/records --into W/merged",
    "rescore": "W/records --out W/new --labels W/data --data W/data",
}
NEW = {"results", "reports", "out", "root", "into", "cache"}
"""Folders and files that a command may make, or that are empty at first: any name is right for them."""
ANYTHING = {("predict", "expressions"), ("run", "cache"), ("check", "baseline")}
TORCH = {
    ("check", "only"),
    ("profile", "device"),
    ("run", "device"),
    ("tune", "device"),
    ("evaluate", "device"),
    ("rescore", "data"),
}
"""What only torch, or a module that needs it, can judge."""


class Parameter(NamedTuple):
    """One parameter of a command: its name in Python, its option (or its place), and the type of its values."""

    name: str
    option: str | int
    kind: type


def commands(app: typer.Typer, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Callable[..., None]]]:
    for command in app.registered_commands:
        assert command.callback is not None
        yield " ".join((*path, command.name or command.callback.__name__)), command.callback
    for group in app.registered_groups:
        assert group.typer_instance is not None
        yield from commands(group.typer_instance, (*path, str(group.name)))


def parameters(function: Callable[..., None]) -> Iterator[Parameter]:
    """The parameters of a command that take a value."""
    place = 0
    hints = typing.get_type_hints(function, include_extras=True)
    for name in signature(function).parameters:
        annotation = hints[name]
        if annotation is typer.Context:
            continue
        hint, info = typing.get_args(annotation)[:2]
        while typing.get_origin(hint) in (typing.Union, types.UnionType, list):
            hint = typing.get_args(hint)[0]
        option: str | int = "--" + name.rstrip("_").replace("_", "-")
        if isinstance(info, ArgumentInfo):
            option, place = place, place + 1
        elif info.param_decls:
            option = info.param_decls[0]
        if typing.get_origin(hint) is Literal or issubclass(hint, Enum):
            hint = Literal
        if hint is not bool:
            yield Parameter(name, option, hint)


COMMANDS = dict(commands(cli.app))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, shapes_root: Path) -> Path:
    """Data, records, a photo, a checkpoint and a table, so that one argument alone is wrong."""
    folder = tmp_path_factory.mktemp("world")
    (folder / "data").symlink_to(shapes_root)
    for method in ("snf", "etris"):
        put_cell(Store(folder / "records"), method)
    cv2.imwrite(str(folder / "photo.jpg"), np.full((40, 50, 3), 99, np.uint8))
    (folder / "w.pth").write_bytes(b"weights")
    (folder / "table.csv").write_text("image,expression,polygon,split\nphoto.jpg,it,[],train\nphoto.jpg,it,[],val\n")
    (folder / "home").mkdir()
    return folder


@pytest.fixture(scope="module")
def ask(world: Path) -> Iterator[Callable[[list[str]], dict[str, Any]]]:
    """One process that answers command lines."""
    variables = {"HOME": str(world / "home"), "BARBENCH_CACHE": str(world / "cache"), "COLUMNS": "200"}
    clean = {name: value for name, value in os.environ.items() if name != "BARBENCH_DATA"}
    with subprocess.Popen(
        [sys.executable, "-m", "tests.commands.answers"],
        cwd=world, env=clean | variables | {"PYTHONPATH": str(REPOSITORY)},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdin
        assert process.stdout

        def answer(arguments: list[str]) -> dict[str, Any]:
            assert process.stdin
            assert process.stdout
            process.stdin.write(json.dumps(arguments) + "\n")
            process.stdin.flush()
            found: dict[str, Any] = json.loads(process.stdout.readline())
            return found

        yield answer
        process.stdin.close()


def mistakes(command: str, world: Path, every: bool) -> Iterator[tuple[Parameter, list[str]]]:
    """Each parameter with the words of a command line where its value is bad: every bad value, or the last one."""
    base = RUNS[command].replace("W/", f"{world}/").split()
    for parameter in parameters(COMMANDS[command]):
        for bad in BAD[parameter.kind] if every else BAD[parameter.kind][-1:]:
            if bad.strip(" ,") and (
                (command, parameter.name) in ANYTHING or (parameter.kind is Path and parameter.name in NEW)
            ):
                continue
            words = list(base)
            if isinstance(parameter.option, int):
                words[parameter.option] = bad
            elif parameter.option in words:
                words[words.index(parameter.option) + 1] = bad
            else:
                words.append(f"{parameter.option}={bad}")
            yield parameter, command.split() + words


def test_the_table_has_every_command() -> None:
    assert set(RUNS) == set(COMMANDS)


EVERY = pytest.param(True, marks=pytest.mark.slow, id="every value")


@pytest.mark.parametrize("every", [pytest.param(False, id="one value"), EVERY])
@pytest.mark.parametrize("command", RUNS)
def test_a_mistake_is_answered_in_words_before_anything_runs(  # type: ignore[no-untyped-def]
    command: str, every: bool, world: Path, ask
) -> None:
    before = sorted(path for path in world.rglob("*") if "cache" not in path.parts)
    wrong = []
    for parameter, words in mistakes(command, world, every):
        answer = ask(words)
        said = answer["err"].strip()
        fine = answer["code"] == 2 and said and "Traceback" not in said and "(unexpected;" not in said
        if (command, parameter.name) not in TORCH:
            fine = fine and "torch" not in answer["heavy"].split()
        if not fine:
            wrong.append(f"{words}: {answer['code']} after {answer['seconds']:.1f} s, {answer['heavy']}: {said[-300:]}")
    assert not wrong, "\n".join(wrong)
    assert sorted(path for path in world.rglob("*") if "cache" not in path.parts) == before


@pytest.mark.parametrize("command", [name for name in RUNS if any(p.kind is Path for p in parameters(COMMANDS[name]))])
def test_home_is_read_in_every_path(command: str, world: Path, ask) -> None:  # type: ignore[no-untyped-def]
    """No message and no file has the ~ of an argument that is a path."""
    for parameter in parameters(COMMANDS[command]):
        if parameter.kind is not Path or isinstance(parameter.option, int) or (command, parameter.name) in ANYTHING:
            continue
        words = RUNS[command].replace("W/", f"{world}/").split()
        words = [*command.split(), *words, f"{parameter.option}=~/photo.jpg/x"]  # under a file: cannot exist
        (world / "home/photo.jpg").write_bytes(b"")
        answer = ask(words) if parameter.name not in NEW else {"err": ""}
        assert "~/" not in answer["err"], answer
        (world / "home/photo.jpg").unlink()
    assert not list(world.rglob("~*"))
