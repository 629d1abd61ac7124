"""Which code a cell ran: hosts with different copies of barbench must not share a run."""

import functools
import hashlib
import re
import sys
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
    digest = hashlib.sha256()
    for name in sorted(files):
        digest.update(f"{name} {files[name].stat().st_size}\n".encode())
        digest.update(files[name].read_bytes())
    return digest.hexdigest()[:12]
