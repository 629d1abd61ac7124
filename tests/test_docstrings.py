"""Docstrings: public modules say what they take, return and raise; elsewhere a section that is there is right.

pydoclint checks Args and Returns of public modules (`python -m tools.docstrings`); it cannot allow an error of a
function that is called, so Raises is checked here.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tools.docstrings import PACKAGE, public_files

FILES = sorted(PACKAGE.rglob("*.py"))
PUBLIC = public_files()
# Arguments of commands are documented by their help texts.
WITH_SECTIONS = [file for file in FILES if file.parent.name != "commands"]
Definition = ast.FunctionDef | ast.ClassDef
HEADINGS = "Args|Attributes|Returns|Yields|Raises|Example|Examples|Note|Source"


def shown(file: Path) -> str:
    return str(file.relative_to(PACKAGE))


def definitions(node: ast.Module | ast.ClassDef, private: bool = False) -> Iterator[Definition]:
    """Functions, classes and methods, the public ones or all; functions inside functions belong to these."""
    for child in node.body:
        if isinstance(child, Definition) and (private or not child.name.startswith("_")):
            yield child
            if isinstance(child, ast.ClassDef):
                yield from definitions(child, private)


def raised(node: ast.AST) -> set[str]:
    """Names of the errors that a function itself raises; an error that is passed on (`raise`, `raise e`) has none."""
    found: set[str] = set()
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Raise):
            either = [child.exc.body, child.exc.orelse] if isinstance(child.exc, ast.IfExp) else [child.exc]
            found |= {ast.unparse(error.func) for error in either if isinstance(error, ast.Call)}
        elif not isinstance(child, Definition | ast.Lambda):
            found |= raised(child)
    return found


def section(node: Definition, title: str) -> list[str] | None:
    """Names of the entries of a docstring's section; None if there is no such section."""
    found = re.search(
        rf"^{title}:\n(.*?)(?=^(?:{HEADINGS}):$|\Z)", ast.get_docstring(node) or "", re.MULTILINE | re.DOTALL
    )
    if found is None:
        return None
    lines = found.group(1).splitlines()
    indents = [len(line) - len(line.lstrip()) for line in lines if line.strip()]
    entries = []
    for line in lines:
        named = re.match(r"\s+([^:]+):(\s|$)", line)
        if named and len(line) - len(line.lstrip()) == min(indents):
            entries += [name.strip(" *") for name in named.group(1).split(",")]
    return entries


def makers(node: Definition) -> list[Definition]:
    """The functions that a docstring speaks of: a class's is that of its constructor."""
    if isinstance(node, ast.FunctionDef):
        return [node]
    return [each for each in node.body if isinstance(each, ast.FunctionDef) and each.name == "__init__"]


def parameters(node: ast.FunctionDef) -> set[str]:
    given = node.args
    everything = [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]
    return {argument.arg for argument in everything if argument is not None}


def unsaid(source: str, public: bool) -> list[tuple[str, str]]:
    """(definition, error) for each error that a docstring leaves out.

    A definition that is not public may leave out the whole section, but no part of it.
    """
    found = []
    for node in definitions(ast.parse(source), private=not public):
        said = section(node, "Raises")
        if said is None and not public:
            continue
        for maker in makers(node):
            found += [(node.name, error) for error in sorted(raised(maker) - set(said or ()))]
    return found


def invented(source: str) -> list[tuple[str, str]]:
    """(definition, argument) for each argument that a docstring describes and the function does not take."""
    found = []
    for node in definitions(ast.parse(source), private=True):
        known = set().union(*(parameters(maker) for maker in makers(node)))
        found += [(node.name, name) for name in section(node, "Args") or () if known and name not in known]
    return found


@pytest.mark.parametrize("file", FILES, ids=shown)
def test_functions_say_what_they_raise(file: Path) -> None:
    assert unsaid(file.read_text("utf-8"), file in PUBLIC) == []


@pytest.mark.parametrize("file", WITH_SECTIONS, ids=shown)
def test_documented_arguments_exist(file: Path) -> None:
    assert invented(file.read_text("utf-8")) == []


@pytest.mark.parametrize("file", FILES, ids=shown)
def test_public_definitions_have_docstrings(file: Path) -> None:
    assert [n.name for n in definitions(ast.parse(file.read_text("utf-8"))) if not ast.get_docstring(n)] == []


def test_public_modules_are_those_that_the_pages_show() -> None:
    names = {shown(file) for file in PUBLIC}
    assert {"api.py", "errors.py", "models/hooks.py", "methods/lora.py", "models/towers/clip.py"} <= names
    assert "commands/run.py" not in names
    assert "benchmarks/cell.py" not in names


SOURCE = '''
class A:
    """Text."""

    def __init__(self) -> None:
        raise ValueError("a")

def f(a, *rest) -> None:
    """Text.

    Args:
        a: one
            line: more
        rest, b: not there.

    Raises:
        KeyError: sometimes.
    """
    if f:
        raise KeyError("f")
    raise OSError("f") if f else library.Error("f")

def _g() -> None:
    raise OSError("g")
'''


def test_the_rules_find_what_is_left_out_and_what_is_invented() -> None:
    assert unsaid(SOURCE, public=True) == [("A", "ValueError"), ("f", "OSError"), ("f", "library.Error")]
    assert unsaid(SOURCE, public=False) == [("f", "OSError"), ("f", "library.Error")]
    assert invented(SOURCE) == [("f", "b")]
