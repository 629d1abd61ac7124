"""A benchmark that is missing or renamed fails a comparison, a new one is told; pytest-benchmark itself is silent.

pytest tests/benchmarks --benchmark-only --benchmark-autosave
pytest tests/benchmarks --benchmark-only --benchmark-compare --benchmark-compare-fail=median:50%
"""

from collections.abc import Mapping
from typing import Any

import pytest


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Runs inside pytest-benchmark's own hook, which has loaded what to compare with."""
    benchmarks: Any = getattr(session.config, "_benchmarksession", None)
    if benchmarks is None or not benchmarks.compare_fail:
        return
    compared: Mapping[str, Mapping[str, Any]] = benchmarks.compared_mapping or {}
    now = {bench.fullname for bench in benchmarks.benchmarks}
    then = {name for run in compared.values() for name in run}
    lost = [f"missing or renamed: {name}" for name in sorted(then - now)]
    lost += [] if compared else ["nothing to compare with: run once with --benchmark-autosave"]
    lines = lost + [f"new or renamed: {name}" for name in sorted(now - then) if compared]
    if lines:
        print("\nThe benchmarks are not those compared with:\n  " + "\n  ".join(lines))
    if lost:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
