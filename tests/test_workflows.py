"""The workflows of GitHub Actions: well-formed, least privileges, and what they run exists.

They were also checked with actionlint, which knows every key and expression.
"""

from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from barbench.cli import app
from barbench.regression.baseline import COMMITTED, load
from barbench.regression.check import SECTIONS

FOLDER = Path(__file__).parents[1] / ".github/workflows"
FILES = sorted(FOLDER.glob("*.yml"))


def read(name: str) -> dict[Any, Any]:
    content: dict[Any, Any] = yaml.safe_load((FOLDER / name).read_text("utf-8"))
    return content


def commands(name: str) -> list[str]:
    return [step["run"] for job in read(name)["jobs"].values() for step in job["steps"] if "run" in step]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_a_workflow_has_what_github_asks_for(file: Path) -> None:
    content = read(file.name)
    assert content["name"] == file.stem
    assert True in content  # YAML 1.1 reads the key `on` as a truth value
    for job in content["jobs"].values():
        assert job["runs-on"]
        assert job["timeout-minutes"] <= 40
        assert all(("run" in step) != ("uses" in step) for step in job["steps"])
        ids = {step["id"] for step in job["steps"] if "id" in step}
        text = str(job)
        assert all(f"steps.{each}." in text for each in ids)


def test_what_runs_code_of_a_pull_request_cannot_write() -> None:
    for file in FILES:
        content = read(file.name)
        assert "pull_request_target" not in content[True]
        if "pull_request" in content[True]:
            assert content["permissions"] == {"contents": "read"}
            assert "secrets." not in file.read_text()
    comment = read("comment.yml")
    assert comment["permissions"] == {"actions": "read", "pull-requests": "write"}
    assert commands("comment.yml") == []  # nothing of the pull request is checked out or run
    assert not any("checkout" in step.get("uses", "") for job in comment["jobs"].values() for step in job["steps"])
    assert comment[True]["workflow_run"]["workflows"] == [read("check.yml")["name"]]


def test_the_gate_s_command_lines_have_options_that_exist() -> None:
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
