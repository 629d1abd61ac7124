"""How `barbench run` ends: what it writes, what it prints last, and where reports go."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from barbench.commands.run import _report
from barbench.results.store import Store
from barbench.spec.run import Run, reports_beside
from tests.results.cells import put_cell
from tests.test_cli import Ask
from tests.test_cli import ask as ask


def test_the_end_of_a_run_fits_a_screen(tmp_path: Path) -> None:
    """On 80 x 24: where things are, what comes next, and the table last; its notes are in a file."""
    store = Store(tmp_path / "runs")
    records = [put_cell(store, method) for method in ("barleria", "etris", "snf")]
    out = io.StringIO()
    reports = tmp_path / "runs-reports"
    _report(Run(), records, store.folder, reports, Console(file=out, width=80))
    lines = out.getvalue().rstrip().splitlines()
    assert len(lines) <= 24
    assert lines[0] == f"records in {store.folder}, tables in {reports}; all on one page: {reports}/report.html"
    assert lines[1].endswith(f"notes on what is compared below: {reports}/table5.md")
    assert lines[2] == f"next: barbench compare snf barleria --results {store.folder}"
    assert (reports / "report.html").is_file()
    assert "SNF" in out.getvalue().partition("next: ")[2]
    assert set(lines[-1]) == {"─"}, "the rule under the table"


@pytest.mark.parametrize(
    ("results", "reports"),
    [
        ("results", "reports"),
        ("runs/results/", "runs/reports"),
        ("/shared/me/results", "/shared/me/reports"),
        ("runs/monday", "runs/monday-reports"),
        ("runs/tuesday", "runs/tuesday-reports"),
        ("../results", "../reports"),
    ],
)
def test_two_results_folders_have_two_folders_of_reports(results: str, reports: str) -> None:
    assert reports_beside(Path(results)) == Path(reports)


def test_the_reports_of_this_folder_lie_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "monday").mkdir()
    monkeypatch.chdir(tmp_path / "monday")
    assert reports_beside(Path()) == tmp_path / "monday-reports"


def test_a_report_is_written_beside_its_results(ask: Ask, tmp_path: Path) -> None:
    put_cell(Store(tmp_path / "monday"), "etris")
    answer = ask("report", "--results", tmp_path / "monday", "--format", "md")
    assert answer.code == 0, answer.err
    assert (tmp_path / "monday-reports" / "table5.md").is_file()


def test_a_folder_of_reports_that_cannot_be_written_is_found_before_the_run(ask: Ask, tmp_path: Path) -> None:
    answer = ask("run", "--methods", "head-only", "--results", tmp_path / "r", "--reports", "/dev/null/reports")
    assert (answer.code, answer.err.count("\n")) == (2, 1)
    assert "--reports: cannot write to /dev/null/reports: Not a directory" in answer.err
    assert not (tmp_path / "r").exists()
