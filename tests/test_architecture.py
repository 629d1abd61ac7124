"""Data flows one way: the imports of every module, as written (late ones too), and no arrow that runs back.

A *room* is a folder of the package, or a file at its root; a *sub-room* is a folder inside a room.
"""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "barbench"
LEAVES = {"errors", "files", "metrics", "progress", "registry", "values"}
# What a room may import of barbench, itself apart. Every room above `spec` may read the leaves, `paper` and `spec`.
LOWEST = {"errors", "registry", "values"}
EVERYWHERE = LEAVES | {"paper", "spec"}
ALLOWED: dict[str, set[str]] = {
    **dict.fromkeys(LEAVES, LOWEST),
    "listing": LOWEST | {"progress", "reports"},
    "paper": LOWEST,
    "spec": LOWEST | {"paper"},
    "datasets": EVERYWHERE,
    "models": EVERYWHERE,
    "methods": EVERYWHERE | {"models"},
    "engine": EVERYWHERE | {"datasets", "models", "methods"},
    "results": EVERYWHERE,
    "reports": EVERYWHERE | {"results"},
    "notebook": EVERYWHERE | {"engine", "results"},
    "benchmarks": EVERYWHERE | {"engine", "datasets", "models", "methods", "results"},
    "regression": EVERYWHERE
    | {"benchmarks", "engine", "datasets", "models", "methods", "results", "listing", "reports"},
}
COMMANDS = {"cli", "commands"}
TOP = COMMANDS | {"api", "__init__"}
TORCH_FREE = LEAVES | COMMANDS | {"paper", "spec", "results", "reports", "listing"}
HEAVY = {"torch", "torchvision", "open_clip", "accelerate", "cv2", "safetensors"}
FILES = sorted(PACKAGE.rglob("*.py"))

Graph = dict[str, set[str]]


def name(file: Path, package: Path = PACKAGE) -> str:
    return file.relative_to(package).as_posix()


def room(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(node: ast.AST) -> list[str]:
    """Full names that an import statement brings in: modules, or names in modules."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        assert node.level == 0, "relative imports hide where an arrow points"
        return [f"{node.module}.{alias.name}" for alias in node.names]
    return []


def imports(file: Path) -> set[str]:
    return {name for node in ast.walk(ast.parse(file.read_text("utf-8"))) for name in imported(node)}


def rooms_used(file: Path) -> set[str]:
    return {name.split(".")[1] for name in imports(file) if name.startswith("barbench.")}


def import_graph(package: Path) -> Graph:
    """Which file of a package imports which, by path inside the package.

    `from a.b import c` is an arrow to `a/b/c.py` if there is such a file, else to `a/b.py` or `a/b/__init__.py`.
    """
    files = {name(file, package) for file in package.rglob("*.py")}
    graph: Graph = {file: set() for file in files}
    for file in files:
        for full_name in imports(package / file):
            top, *parts = full_name.split(".")
            if top != package.name:
                continue
            for path in ("/".join(parts), "/".join(parts[:-1])):
                target = next((end for end in (f"{path}.py", f"{path}/__init__.py") if end in files), None)
                if target is not None:
                    graph[file].add(target)
                    break
        graph[file].discard(file)
    return graph


def reachable(graph: Graph) -> Graph:
    """For each node, all that can be reached from it by one arrow or more."""
    found: Graph = {}
    for start in graph:
        seen: set[str] = set()
        waiting = list(graph[start])
        while waiting:
            node = waiting.pop()
            if node not in seen:
                seen.add(node)
                waiting.extend(graph[node])
        found[start] = seen
    return found


def circles(graph: Graph) -> list[set[str]]:
    """Sets of nodes that all reach each other."""
    reach = reachable(graph)
    found: list[set[str]] = []
    for node in sorted(graph):
        circle = {other for other in reach[node] if node in reach[other]}
        if circle and circle not in found:
            found.append(circle)
    return found


def folder(file: str) -> str:
    """A file's folder; a file at the root is a room of its own."""
    return file.rpartition("/")[0] or file


def circles_of_folders(graph: Graph) -> list[set[str]]:
    """Circles between folders of which none lies in another: `a/x.py -> b/x.py`, `b/y.py -> a/y.py`."""
    folders: Graph = {folder(file): set() for file in graph}
    for file, targets in graph.items():
        here = folder(file)
        for target in targets:
            there = folder(target)
            nested = f"{there}/".startswith(f"{here}/") or f"{here}/".startswith(f"{there}/")
            if not nested:
                folders[here].add(there)
    return circles(folders)


def returns(graph: Graph) -> dict[str, set[str]]:
    """Folders that a chain of imports leaves and comes back to, with the files outside on such chains.

    A folder and the files of its parent may use each other (`models/walk.py` uses `towers/`, which uses
    `models/stream.py`), but only in one direction for each file: what a sub-room uses does not use the sub-room.
    """
    reach = reachable(graph)
    found: dict[str, set[str]] = {}
    for here in {folder(file) for file in graph}:
        own = {file for file in graph if folder(file) == here}
        left = set().union(*(reach[file] for file in own))
        outside = {file for file in left if not file.startswith(f"{here}/") and file not in own}
        back = {file for file in outside if reach[file] & own}
        if back:
            found[here] = back
    return found


def plant(root: Path, **sources: str) -> Graph:
    """The graph of a package `house` made of files: `a__x="import house.b"` is `a/x.py`."""
    for key, text in sources.items():
        file = root / "house" / f"{key.replace('__', '/')}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return import_graph(root / "house")


# Heavy libraries are imported where they are needed, so that help and mistakes answer at once.
MAY_IMPORT_AT_CALL_TIME = {name(file) for file in FILES if room(file) == "commands"}


def test_every_room_is_covered_by_a_rule() -> None:
    assert {room(file) for file in FILES} <= ALLOWED.keys() | TOP


@pytest.mark.parametrize("file", FILES, ids=name)
def test_no_arrow_runs_back(file: Path) -> None:
    here = room(file)
    if here in TOP:
        return
    assert rooms_used(file) <= ALLOWED[here] | {here}, f"{here} may import {sorted(ALLOWED[here])}"


def test_no_files_import_each_other_in_a_circle() -> None:
    assert circles(import_graph(PACKAGE)) == []


def test_no_folders_import_each_other_in_a_circle() -> None:
    assert circles_of_folders(import_graph(PACKAGE)) == []


def test_no_chain_of_imports_leaves_a_folder_and_comes_back() -> None:
    assert returns(import_graph(PACKAGE)) == {}


def test_a_planted_circle_between_two_files_is_found(tmp_path: Path) -> None:
    late = "def f():\n    from house.a.y import g\n    return g"
    graph = plant(tmp_path, a__x=late, a__y="from house.a import x\n", a__z="from house.a.x import f")
    assert circles(graph) == [{"a/x.py", "a/y.py"}]


def test_a_planted_circle_between_two_folders_is_found(tmp_path: Path) -> None:
    graph = plant(tmp_path, r__a__x="import house.r.b.x", r__a__y="", r__b__x="", r__b__y="from house.r.a.y import z")
    assert circles(graph) == []  # no file reaches itself
    assert circles_of_folders(graph) == [{"r/a", "r/b"}]


def test_a_planted_circle_of_a_folder_with_its_parent_is_found(tmp_path: Path) -> None:
    sources = {
        "r__attempt": "from house.r.sub.base import B",
        "r__sub__base": "",
        "r__sub__local": "import house.r.attempt",
    }
    graph = plant(tmp_path, **sources)
    assert circles(graph) == []
    assert returns(graph) == {"r/sub": {"r/attempt.py"}}


def test_a_folder_may_stand_between_the_files_of_its_parent(tmp_path: Path) -> None:
    graph = plant(tmp_path, r__walk="import house.r.sub.base", r__sub__base="from house.r import stream", r__stream="")
    assert circles(graph) == []
    assert circles_of_folders(graph) == []
    assert returns(graph) == {}


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


def test_nothing_imports_the_command_line_the_public_api_or_the_tools() -> None:
    for file in FILES:
        if room(file) not in TOP:
            assert not rooms_used(file) & (COMMANDS | {"api"}), name(file)
        assert not {full_name for full_name in imports(file) if full_name.split(".")[0] == "tools"}, name(file)


@pytest.mark.parametrize("file", FILES, ids=name)
def test_every_module_that_holds_code_says_what_it_is_for(file: Path) -> None:
    tree = ast.parse(file.read_text("utf-8"))
    assert not tree.body or ast.get_docstring(tree)


def test_the_rules_find_an_arrow_that_runs_back(tmp_path: Path) -> None:
    bad = tmp_path / "bad.py"
    bad.write_text("def f():\n    from barbench.methods.catalog import METHODS\n")
    assert rooms_used(bad) - (ALLOWED["models"] | {"models"}) == {"methods"}
