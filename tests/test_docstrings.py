"""Docstrings: what a public function raises, it says.

pydoclint checks Args and Returns; it cannot allow an error of a function that is called, so Raises is checked here.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "barbench"
FILES = sorted(PACKAGE.rglob("*.py"))
Definition = ast.FunctionDef | ast.ClassDef


def definitions(node: ast.Module | ast.ClassDef) -> Iterator[Definition]:
    """Public functions, classes and methods; functions inside functions are nobody else's."""
    for child in node.body:
        if isinstance(child, Definition) and not child.name.startswith("_"):
            yield child
            if isinstance(child, ast.ClassDef):
                yield from definitions(child)


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


def unsaid(source: str) -> list[tuple[str, str]]:
    """(definition, error) for each error that a docstring leaves out; a class speaks for its constructor."""
    found = []
    for node in definitions(ast.parse(source)):
        inits = [n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"]
        bodies = inits if isinstance(node, ast.ClassDef) else [node]
        said = set(re.findall(r"[\w.]+", ast.get_docstring(node) or ""))
        found += [(node.name, error) for body in bodies for error in sorted(raised(body) - said)]
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_public_functions_say_what_they_raise(file: Path) -> None:
    assert unsaid(file.read_text("utf-8")) == []


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_public_definitions_have_docstrings(file: Path) -> None:
    assert [n.name for n in definitions(ast.parse(file.read_text("utf-8"))) if not ast.get_docstring(n)] == []


def test_the_rule_finds_what_is_left_out() -> None:
    source = '''
class A:
    """Text."""

    def __init__(self) -> None:
        raise ValueError("a")

def f() -> None:
    """Text.

    Raises:
        KeyError: sometimes.
    """
    if f:
        raise KeyError("f")
    raise OSError("f") if f else library.Error("f")

def _g() -> None:
    raise OSError("g")
'''
    assert unsaid(source) == [("A", "ValueError"), ("f", "OSError"), ("f", "library.Error")]
