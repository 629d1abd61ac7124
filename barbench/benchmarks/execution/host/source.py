"""Which code a cell ran: hosts with different copies of barbench must not share a run, and a score is not that of a
method which was edited since."""

import functools
import hashlib
import re
import sys
from collections.abc import Mapping
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path


@functools.cache
def code_hash(method: str = "") -> str:
    """Twelve hex digits over the source of barbench, and over the modules of a user's own method (`module:name`)."""
    package = Path(__file__).parents[3]
    files = {str(file.relative_to(package)): file for file in package.rglob("*.py")}
    for module in re.findall(r"([\w.]+):", method):
        sys.path_importer_cache.clear()
        spec = find_spec(module)
        if spec is not None and spec.origin:
            files[module] = Path(spec.origin)
    return _hash(files)


def own_code(method: str) -> str:
    """Twelve hex digits over the source of a user's own method, without barbench's; empty if it has none.

    Of a module in a package, the source of the whole package. Asked again in every call, because files are edited.

    Args:
        method: as in a cell: a name, `module:name`, the name of an installed package's method, or several with a plus.
    """
    plugins = {point.name: point.value for point in entry_points(group="barbench.methods")}
    files: dict[str, Path] = {}
    sys.path_importer_cache.clear()
    for part in method.split("+"):
        target = part if ":" in part else plugins.get(part, "")
        files |= _sources(target.partition(":")[0].strip())
    return _hash(files) if files else ""


def _sources(module: str) -> dict[str, Path]:
    """The source files of a module, or of its package, by a name that is the same on every host."""
    if not module:
        return {}
    try:
        spec = find_spec(module)
        top = find_spec(module.partition(".")[0])
    except (ImportError, ValueError):  # what it imports is not there, or it has no spec
        return {}
    # Of a package every file: a method's module imports from its neighbors.
    if top is not None and top.submodule_search_locations:
        return {
            str(file.relative_to(folder)): file
            for folder in map(Path, top.submodule_search_locations)
            for file in folder.rglob("*.py")
        }
    if spec is None or not spec.origin:
        return {}
    return {module: Path(spec.origin)}


def _hash(files: Mapping[str, Path]) -> str:
    """Twelve hex digits over the names and the content of files."""
    digest = hashlib.sha256()
    for name in sorted(files):
        content = files[name].read_bytes()
        digest.update(f"{name} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()[:12]
