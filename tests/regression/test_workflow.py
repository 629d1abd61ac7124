"""The gate's workflow names the gate's sections, its options, and the torch of its baseline. actionlint and zizmor,
which pre-commit runs, check everything else in the workflows.
"""

from pathlib import Path
from typing import Any

import typer.main
import yaml

from barbench.cli import app
from barbench.regression.baseline import COMMITTED, load
from barbench.regression.check import SECTIONS

FOLDER = Path(__file__).parents[2] / ".github/workflows"


def steps(name: str) -> list[dict[str, Any]]:
    content = yaml.safe_load((FOLDER / name).read_text("utf-8"))
    return [step for job in content["jobs"].values() for step in job["steps"]]


def commands(name: str) -> list[str]:
    return [step["run"] for step in steps(name) if "run" in step]


def test_the_command_lines_have_options_that_exist_and_cover_every_section() -> None:
    check = typer.main.get_command(app).commands["check"]  # type: ignore[attr-defined]
    known = {option for parameter in check.params for option in parameter.opts}
    lines = [line for line in commands("check.yml") if "--only" in line]
    assert len(lines) == 3
    covered = set()
    for line in lines:
        words = line.partition(">")[0].split()
        assert {word for word in words if word.startswith("--")} <= known
        covered |= set(words[words.index("--only") + 1].split(","))
    assert covered == SECTIONS.keys()


def test_the_pinned_torch_is_one_that_the_baseline_was_made_with() -> None:
    [install] = [line for line in commands("check.yml") if "torch==" in line]
    release = install.split("torch==")[1].split("'")[0].removesuffix(".*")
    assert f"torch {release}, Linux x86_64" in load(COMMITTED).platforms


def test_the_workflow_that_may_write_runs_nothing_of_the_pull_request() -> None:
    assert commands("comment.yml") == []  # zizmor is told to accept its trigger for this reason
    assert not any("checkout" in step["uses"] for step in steps("comment.yml"))
