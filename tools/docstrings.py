"""Check with pydoclint that public docstrings have all their sections: `python -m tools.docstrings`.

Public are the modules that `docs/api` shows, and all metrics, components of methods, and towers. Elsewhere one sentence
is enough; `tests/test_docstrings.py` checks that a section which is there is right.
"""

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "barbench"
SHOWN = re.compile(r"^::: (barbench\.[\w.]+)$", re.MULTILINE)
WHOLE_ROOMS = ("metrics", "methods", "models/towers")


def public_files() -> list[Path]:
    """Modules whose docstrings have Args, Returns and Raises, sorted."""
    files = {PACKAGE / "api.py"}
    for room in WHOLE_ROOMS:
        files.update((PACKAGE / room).glob("*.py"))
    for page in (ROOT / "docs/api").glob("*.md"):
        for name in SHOWN.findall(page.read_text("utf-8")):
            file = (ROOT / name.replace(".", "/")).with_suffix(".py")
            if file.is_file():  # else it is a name of the public API, which is in api.py
                files.add(file)
    return sorted(files)


if __name__ == "__main__":
    files = [str(file.relative_to(ROOT)) for file in public_files()]
    raise SystemExit(subprocess.run(["pydoclint", "--quiet", *files], cwd=ROOT).returncode)
