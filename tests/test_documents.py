"""README, docs/ and CONTRIBUTING: every command line in them is one that this version takes, and what they show holds.

A line is run here, or it is in one of the lists below: it needs data or a device, or another test runs its like.
"""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer.main
from typer.testing import CliRunner

from barbench.cli import app
from barbench.results.store import Store
from tests.results.cells import put_cell

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
COMMAND = typer.main.get_command(app)

NEEDS = {
    "data": r"\bROOT\b|\bSOURCE\b|\bFILE\.|--data (?!shapes)|photo\.jpg|\.csv\b|[a-z]/\w",
    "a device or a cluster": r"--gpus|--device|--executor|--cluster|--processes|--detach|--precision|--kernels",
    "a file of one's own": r"--table across|\bmine|\bmy|tuned\.yaml|results/|--baseline|--tracker|BASELINE|CELL|RUN\b",
    "records of real runs": r"\bpanels\b|\bpredict\b|\bresults merge\b",
    "minutes": r"^barbench (profile|check|tune|evaluate|stop|data (make-shapes|verify|audit))",
}
"""Why a line is not run here -> how it is known. It is read by the parser of its command all the same."""


def lines_of(page: Path) -> list[str]:
    """The command lines of a page's code blocks, without comments and what is around them."""
    found = []
    fenced = False
    for line in page.read_text("utf-8").splitlines():
        if line.startswith("```"):
            fenced = not fenced
        if fenced or line.startswith("    "):
            for part in re.split(r" && |; ", line.strip()):
                command = re.sub(r"\s+#.*", "", part).strip()
                if command.startswith("barbench ") and not re.search(r"[<…]|\.\.\.|\bCOMMAND\b|\bARGUMENTS\b", command):
                    found.append(command)
    return found


LINES = sorted({line for page in PAGES for line in lines_of(page)})


def reason(line: str) -> str | None:
    """Why a line is not run here; None where it is."""
    return next((why for why, pattern in NEEDS.items() if re.search(pattern, line)), None)


RUN_HERE = [line for line in LINES if reason(line) is None]


def parse(words: list[str]) -> None:
    """Have the command's parser read the words: names of options, numbers, choices."""
    command: Any = COMMAND
    while hasattr(command, "commands"):
        command = command.commands[words.pop(0)]
    command.make_context(command.name, words)


def test_there_are_lines_and_most_kinds_of_command_are_run() -> None:
    assert len(LINES) > 40
    assert {line.split()[1] for line in RUN_HERE} >= {"run", "report", "compare", "export", "list", "show"}


@pytest.mark.parametrize("line", LINES)
def test_a_line_is_read_by_its_command(line: str) -> None:
    words = shlex.split(line.rstrip(" \\"))[1:]
    wrong = ""
    try:
        parse(words)
    except Exception as error:
        wrong = str(error)
    # A file that has to be there is the reader's own.
    assert not wrong or "does not exist" in wrong, f"{line}: {wrong}"


@pytest.mark.parametrize("line", RUN_HERE)
def test_a_line_that_needs_nothing_runs(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On two records; a run is planned, not trained."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BARBENCH_DATA", raising=False)
    store = Store(tmp_path / "results")
    put_cell(store, "etris")
    put_cell(store, "barleria", better=0.1)
    words = shlex.split(line)[1:]
    if words[0] == "run":
        words.append("--plan")
    answer = CliRunner().invoke(app, words, catch_exceptions=False)
    assert answer.exit_code == 0, answer.output


def test_what_readme_runs_needs_no_extra() -> None:
    """After README's own installation, pyarrow, submitit, ray and trackers are not there."""
    for line in lines_of(ROOT / "README.md"):
        assert not re.search(r"parquet|--executor|--tracker|--detach", line), line


def test_readme_is_short_and_begins_with_what_it_is_the_commands_the_table_and_a_picture() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    assert len(text.split()) <= 1200
    places = [text.index(part) for part in ("barbench compares", "pip install", "| BarLeRIa ", "![", "## Look at")]
    assert places == sorted(places)


def test_readmes_table_is_that_of_the_page_on_output() -> None:
    rows = [line for line in (ROOT / "README.md").read_text("utf-8").splitlines() if re.match(r"\| .*±", line)]
    page = (ROOT / "docs" / "output.md").read_text("utf-8").splitlines()
    assert len(rows) == 7
    assert all(row in page for row in rows)


def test_pictures_are_there_and_small() -> None:
    for page in PAGES:
        for link in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", page.read_text("utf-8")):
            picture = page.parent / link
            assert picture.is_file(), (page.name, link)
            assert picture.stat().st_size < 150_000, link


def test_every_page_has_a_name_of_its_own() -> None:
    titles = [page.read_text("utf-8").splitlines()[0] for page in PAGES]
    assert len({re.sub(r"^#+ (the )?", "", title.lower()) for title in titles[1:]}) == len(titles) - 1


@pytest.mark.parametrize("word", ["significance", "significant", "subset", "confidence", "interval", "ablation"])
def test_a_search_of_the_documentation_finds(word: str) -> None:
    assert any(word in page.read_text("utf-8").lower() for page in PAGES if page.parent.name == "docs")
