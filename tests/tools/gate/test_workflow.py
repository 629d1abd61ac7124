"""The gate's workflow names the sections of both gates, their options, and the torch of the baseline.

actionlint and zizmor, which pre-commit runs, check everything else in the workflows.
"""

from pathlib import Path
from typing import Any

import typer.main
import yaml

from barbench.cli import app
from barbench.regression.baseline import load
from barbench.regression.check import SCORES
from tools.gate.__main__ import REPOSITORY
from tools.gate.__main__ import app as gate_app

FOLDER = Path(__file__).parents[3] / ".github/workflows"


def steps(name: str) -> list[dict[str, Any]]:
    content = yaml.safe_load((FOLDER / name).read_text("utf-8"))
    return [step for job in content["jobs"].values() for step in job["steps"]]


def commands(name: str) -> list[str]:
    return [step["run"] for step in steps(name) if "run" in step]


def options(command: Any) -> set[str]:
    return {option for parameter in command.params for option in parameter.opts}


def test_the_command_lines_have_options_that_exist_and_cover_every_section() -> None:
    known = {
        "barbench check": options(typer.main.get_command(app).commands["check"]),  # type: ignore[attr-defined]
        "python -m tools.gate check": options(typer.main.get_command(gate_app).commands["check"]),  # type: ignore[attr-defined]
        "python -m tools.gate update": options(typer.main.get_command(gate_app).commands["update"]),  # type: ignore[attr-defined]
    }
    lines = [line for script in commands("check.yml") for line in script.splitlines() if "--only" in line]
    covered: dict[str, set[str]] = {command: set() for command in known}
    for line in lines:
        [command] = [each for each in known if each in line]
        words = line.partition(">")[0].partition(command)[2].split()
        assert {word for word in words if word.startswith("--")} <= known[command]
        covered[command] |= set(words[words.index("--only") + 1].split(","))
    everything = [line.strip() for script in commands("check.yml") for line in script.splitlines()]
    assert any(line.startswith("barbench check --format") for line in everything)  # all of its sections
    assert covered["python -m tools.gate check"] == REPOSITORY.sections.keys()
    assert covered["python -m tools.gate update"] == {"speed"}
    assert covered["barbench check"] <= SCORES.sections.keys()


def test_the_pinned_torch_is_one_that_the_baseline_was_made_with() -> None:
    [install] = [line for line in commands("check.yml") if "torch==" in line]
    release = install.split("torch==")[1].split("'")[0].removesuffix(".*")
    assert f"torch {release}, Linux x86_64" in load(REPOSITORY.baseline, REPOSITORY.update).platforms


def test_the_workflow_that_may_write_runs_nothing_of_the_pull_request() -> None:
    assert commands("comment.yml") == []  # zizmor is told to accept its trigger for this reason
    assert not any("checkout" in step["uses"] for step in steps("comment.yml"))
