"""Data flows one way: the imports of every module, as written, and no arrow that runs back."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "barbench"
ROOMS = ("paper", "spec", "datasets", "models", "methods", "engine", "results", "reports", "benchmarks", "regression")
BOTTOM = {"errors", "registry", "files", "metrics", "plain", "student", "values", "paper", "spec"}
# What each room may import of barbench, itself and the bottom apart.
ALLOWED: dict[str, set[str]] = {
    "errors": set(),
    "registry": set(),
    "files": set(),
    "listing": set(),
    "metrics": set(),
    "plain": set(),
    "student": set(),
    "values": set(),
    "paper": set(),
    "spec": set(),
    "datasets": set(),
    "models": set(),
    "methods": {"models"},
    "engine": {"datasets", "models", "methods"},
    "results": set(),
    "reports": {"results"},
    "benchmarks": {"engine", "datasets", "models", "methods", "results"},
    "regression": {"engine", "datasets", "models", "methods", "listing"},
}
COMMANDS = {"cli", "commands"}
TORCH_FREE = (
    "spec",
    "results",
    "reports",
    "paper",
    "errors",
    "registry",
    "files",
    "metrics",
    "plain",
    "student",
    "values",
    "listing",
    *COMMANDS,
)
HEAVY = {"torch", "torchvision", "open_clip", "accelerate", "cv2", "safetensors"}
FILES = sorted(PACKAGE.rglob("*.py"))


def room(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(node: ast.AST) -> list[str]:
    """Full names of the modules that an import statement brings in."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        assert node.level == 0, "relative imports hide where an arrow goes"
        base = node.module or ""
        return [f"{base}.{alias.name}" for alias in node.names] if base == "barbench" else [base]
    return []


def imports(file: Path) -> set[str]:
    return {name for node in ast.walk(ast.parse(file.read_text("utf-8"))) for name in imported(node)}


def rooms_used(file: Path) -> set[str]:
    return {name.split(".")[1] for name in imports(file) if name.startswith("barbench.")}


def name(file: Path) -> str:
    return str(file.relative_to(PACKAGE))


# Heavy libraries are imported where they are needed, so that help and mistakes answer at once.
MAY_IMPORT_AT_CALL_TIME = {name(file) for file in FILES if room(file) == "commands"}


def test_every_room_is_covered_by_a_rule() -> None:
    known = ALLOWED.keys() | COMMANDS | {"api", "__init__"}
    assert {room(f) for f in FILES} <= known
    assert set(ROOMS) <= {room(f) for f in FILES}


@pytest.mark.parametrize("file", FILES, ids=name)
def test_no_arrow_runs_back(file: Path) -> None:
    here = room(file)
    if here in (*COMMANDS, "api", "__init__"):
        return
    allowed = ALLOWED[here] | {here} | (BOTTOM if here not in BOTTOM else {"errors", "registry", "values", "paper"})
    assert rooms_used(file) <= allowed, f"{here} may import {sorted(allowed)}"


@pytest.mark.parametrize("file", [f for f in FILES if room(f) in TORCH_FREE], ids=name)
def test_results_and_reports_need_no_torch(file: Path) -> None:
    top_level = {n for node in ast.parse(file.read_text("utf-8")).body for n in imported(node)}
    used = imports(file) if room(file) not in COMMANDS else top_level
    assert not {n.split(".")[0] for n in used} & HEAVY


@pytest.mark.parametrize("file", FILES, ids=name)
def test_nothing_is_imported_at_call_time(file: Path) -> None:
    if name(file) in MAY_IMPORT_AT_CALL_TIME:
        return
    functions = [
        n for n in ast.walk(ast.parse(file.read_text("utf-8"))) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    late = [(f.name, node.lineno) for f in functions for node in ast.walk(f) if imported(node)]
    assert late == []


def test_nothing_imports_the_command_line_or_the_public_api() -> None:
    assert [
        name(f) for f in FILES if rooms_used(f) & (COMMANDS | {"api"}) and room(f) not in (*COMMANDS, "__init__")
    ] == []


@pytest.mark.parametrize("file", FILES, ids=name)
def test_every_module_that_holds_code_says_what_it_is_for(file: Path) -> None:
    tree = ast.parse(file.read_text("utf-8"))
    assert not tree.body or ast.get_docstring(tree)


def test_the_rules_find_an_arrow_that_runs_back(tmp_path: Path) -> None:
    bad = tmp_path / "bad.py"
    bad.write_text("def f():\n    from barbench.methods.catalog import METHODS\n")
    assert rooms_used(bad) - (ALLOWED["models"] | {"models"} | BOTTOM) == {"methods"}
