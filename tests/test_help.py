"""The help of every command: each option says what it is for and what holds without it."""

import re
from collections.abc import Iterator
from enum import Enum
from typing import Any

import pytest
import typer.main
from typer.testing import CliRunner

from barbench.cli import app


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The words that call each command that is no group."""
    if not hasattr(command, "commands"):
        yield path
        return
    for name, member in command.commands.items():
        yield from commands(member, (*path, name))


ROOT = typer.main.get_command(app)
COMMANDS = list(commands(ROOT))


def parameters(path: tuple[str, ...]) -> list[Any]:
    command = ROOT
    for word in path:
        command = command.commands[word]
    return [p for p in command.params if p.name != "help"]


def entries(path: tuple[str, ...]) -> dict[str, str]:
    """What `--help` prints beside the name of each parameter, in one line."""
    answer = CliRunner().invoke(app, [*path, "--help"], env={"COLUMNS": "200", "TERMINAL_WIDTH": "200"})
    assert answer.exit_code == 0
    found: dict[str, str] = {}
    name = ""
    for line in answer.output.splitlines():
        text = line.strip("│ ").strip()
        start = re.match(r"(?:\*\s+)?(--[a-z-]+|[a-z_]+)(?:,--[a-z-]+)?\s{2,}", text)
        if line.startswith("│ ") and line[2:8].strip() and start:
            name, text = start[1], text[start.end() :]
        found[name] = f"{found.get(name, '')} {text}"
    return {name: " ".join(text.split()) for name, text in found.items()}


def default_shown(parameter: Any) -> str | None:
    """The default as it has to be printed; None where there is none to print: no default, a flag, or an empty list."""
    said = getattr(parameter, "show_default", None)
    if isinstance(said, str):
        return f"[default: ({said})]"
    if getattr(parameter, "is_flag", False) or parameter.required or parameter.default in (None, "", ()):
        return None
    default = parameter.default
    return f"[default: {default.value if isinstance(default, Enum) else default}]"


def test_the_commands_are_found() -> None:
    assert {("run",), ("evaluate",), ("list", "methods"), ("data", "verify")} <= set(COMMANDS)
    assert len(COMMANDS) >= 17


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_default_is_printed(path: tuple[str, ...]) -> None:
    printed = entries(path)
    for parameter in parameters(path):
        name = max(parameter.opts, key=len) if parameter.param_type_name == "option" else str(parameter.name)
        expected = default_shown(parameter)
        if expected is not None:
            assert expected in printed[name], (name, printed[name])


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_no_help_text_holds_a_bracket_that_would_vanish_as_markup(path: tuple[str, ...]) -> None:
    texts = {p.name: getattr(p, "help", None) or "" for p in parameters(path)}
    assert {name: text for name, text in texts.items() if re.search(r"(?<!\\)\[", text)} == {}


@pytest.mark.parametrize(
    ("path", "option", "default"),
    [
        ("run", "--methods", "all"),
        ("run", "--dataset", "refcoco+"),
        ("run", "--backbone", "tiny on shapes, else ViT-B-16-quickgelu"),
        ("run", "--recipe", "the suite's or demo on shapes, else paper"),
        ("run", "--data", "$BARBENCH_DATA, else shapes"),
        ("run", "--workers", "0 on a CPU, else all cores but two, 16 at most"),
        ("check", "--baseline", "the one that barbench ships"),
        ("panels", "--eval-split", "the first, val"),
        ("panels", "--seed", "the smallest that all methods have"),
        ("predict", "--threshold", "the cell's recipe"),
        ("predict", "--out", "PHOTO-found.png in this folder"),
        ("export", "--out", "results.csv, expressions.csv, …"),
    ],
)
def test_a_default_that_depends_on_something_is_said_in_words(path: str, option: str, default: str) -> None:
    assert f"[default: ({default})]" in entries((path,))[option]


def test_how_to_print_is_the_format_of_every_command_that_prints_rows() -> None:
    for path in COMMANDS:
        names = {name for p in parameters(path) for name in p.opts}
        assert "--output" not in names
        assert ("--format" in names) == (
            path not in {("run",), ("tune",), ("panels",), ("data", "make-shapes"), ("stop",), ("results", "merge")}
        )
    assert "etris|cris|barleria" in entries(("evaluate",))["--codebase"]


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_help_ends_before_what_a_docstring_says_for_programmers(path: tuple[str, ...]) -> None:
    answer = CliRunner().invoke(app, [*path, "--help"])
    assert answer.exit_code == 0
    assert "Raises" not in answer.output
    assert "typer.Exit" not in answer.output


def help_texts(path: tuple[str, ...]) -> dict[str, str]:
    return {str(p.name): getattr(p, "help", None) or "" for p in parameters(path)}


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_a_help_text_begins_with_a_verb_or_a_noun(path: tuple[str, ...]) -> None:
    """Not with an article, a preposition or a pronoun, which leave open what the value is; and nothing "is due"."""
    vague = re.compile(r"(the|a|an|of|for|with|in|on|to|as|what|which|who|whose|where|how|it|its|that|this)\b", re.I)
    begins = {name: text for name, text in help_texts(path).items() if vague.match(text)}
    assert begins == {}
    assert {name: text for name, text in help_texts(path).items() if re.search(r"\b(is|are) due\b", text)} == {}
    assert all(text for text in help_texts(path).values())


def test_the_options_of_run_are_in_groups() -> None:
    """No panel of its help is longer than a screen, and only --help is in none."""
    panels: dict[str, list[str]] = {}
    for parameter in parameters(("run",)):
        panels.setdefault(getattr(parameter, "rich_help_panel", None) or "", []).append(str(parameter.name))
    assert "" not in panels
    assert len(panels) >= 5
    assert max(map(len, panels.values())) <= 12
    printed = CliRunner().invoke(app, ["run", "--help"], env={"COLUMNS": "80", "TERMINAL_WIDTH": "80"}).output
    assert all(f" {panel} " in printed for panel in panels)


def test_an_option_is_in_the_same_group_in_every_command() -> None:
    places: dict[str, set[str | None]] = {}
    for path in COMMANDS:
        for parameter in parameters(path):
            panel = getattr(parameter, "rich_help_panel", None)
            if panel is not None:
                places.setdefault(f"{parameter.name} {parameter.help}", set()).add(panel)
    assert {name: panels for name, panels in places.items() if len(panels) > 1} == {}
