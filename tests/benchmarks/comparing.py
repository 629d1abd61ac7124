"""A benchmark that is missing, renamed or new fails a comparison; pytest-benchmark itself passes over it in silence.

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
    lines = [] if compared else ["nothing to compare with: run once with --benchmark-autosave"]
    for then in compared.values():
        lines += [f"missing or renamed: {name}" for name in sorted(then.keys() - now)]
        lines += [f"new or renamed: {name}" for name in sorted(now - then.keys())]
    if lines:
        print("\nThe benchmarks are not those compared with:\n  " + "\n  ".join(lines))
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
