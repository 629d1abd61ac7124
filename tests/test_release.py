"""What a release says of itself, against what it holds."""

import re
import tomllib
from pathlib import Path

import yaml

from tests.test_examples import DESIGN

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def test_citation_and_changelog_are_of_the_version_in_pyproject() -> None:
    version = PROJECT["project"]["version"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    headings = re.findall(r"^## (\d\S+) - (\S+)$", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    assert headings[0] == (version, citation["date-released"])
    assert citation["version"] == version
    assert citation["license"] == PROJECT["project"]["license"]


def test_every_file_of_the_package_that_is_no_code_is_in_the_wheel() -> None:
    package = ROOT / "barbench"
    globs = PROJECT["tool"]["setuptools"]["package-data"]["barbench"]
    shipped = {file for glob in globs for file in package.glob(glob)}
    present = {file for file in package.rglob("*") if file.is_file() and file.suffix not in (".py", ".pyc")}
    assert present == shipped
    assert package / "py.typed" in shipped


def test_readme_and_quickstart_show_the_lines_that_are_tested() -> None:
    lines = [line for line in DESIGN.splitlines() if line]
    for page in ("README.md", "docs/quickstart.md"):
        [first, *_] = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text("utf-8"), re.DOTALL)
        assert [line for line in first.splitlines() if line] == lines


def test_documents_name_files_that_exist() -> None:
    named = re.compile(r"`((?:barbench|tests|docs|tools|examples|\.github)/[\w./-]+)`")
    for page in (*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")):
        missing = [path for path in named.findall(page.read_text("utf-8")) if not (ROOT / path).exists()]
        assert not missing, f"{page.name} names {missing}"
