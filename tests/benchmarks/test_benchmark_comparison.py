"""A comparison of benchmarks fails where one is missing, renamed or slower, not where one is new."""

import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
BENCHMARKS = """
import time

def test_first(benchmark):
    benchmark.pedantic(time.sleep, (0.002,), rounds=3)

def test_{name}(benchmark):
    benchmark.pedantic(time.sleep, ({seconds},), rounds=3)
"""
MORE = """
def test_third(benchmark):
    benchmark(int)
"""


def run(folder: Path, name: str, seconds: float, *options: str, more: str = "") -> tuple[int, str]:
    (folder / "conftest.py").write_text("from tests.benchmarks.benchmark_comparison import pytest_sessionfinish\n")
    (folder / "test_small.py").write_text(BENCHMARKS.format(name=name, seconds=seconds) + more)
    code = f"import sys; sys.path.insert(0, {str(REPOSITORY)!r}); import pytest; sys.exit(pytest.main(sys.argv[1:]))"
    command = [
        sys.executable,
        "-c",
        code,
        str(folder),
        "--benchmark-only",
        "--rootdir",
        str(folder),
        "-p",
        "no:cacheprovider",
    ]
    alone = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}  # xdist's would switch benchmarks off
    done = subprocess.run([*command, *options], cwd=folder, env=alone, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def test_a_renamed_and_a_slower_benchmark_fail(tmp_path: Path) -> None:
    compare = ("--benchmark-compare", "--benchmark-compare-fail=median:500%")
    code, said = run(tmp_path, "second", 0.002, *compare)
    assert code != 0, said  # there is nothing to compare with yet
    assert run(tmp_path, "second", 0.002, "--benchmark-autosave")[0] == 0
    code, said = run(tmp_path, "second", 0.002, *compare)
    assert code == 0, said
    code, said = run(tmp_path, "renamed", 0.002, *compare)
    assert code == 1
    assert "missing or renamed: test_small.py::test_second" in said
    assert "new or renamed: test_small.py::test_renamed" in said
    code, said = run(tmp_path, "second", 0.002, *compare, more=MORE)
    assert code == 0, said
    assert "new or renamed: test_small.py::test_third" in said
    code, said = run(tmp_path, "second", 0.2, *compare)
    assert code != 0
    assert "Performance has regressed" in said
