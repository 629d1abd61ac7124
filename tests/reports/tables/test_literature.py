"""Other papers' numbers as tables: all of them, apart by metric and training, ranked nowhere, doubts said."""

from collections import Counter
from pathlib import Path

from barbench.paper.literature import published_scores
from barbench.reports.tables.literature import build_literature
from barbench.reports.tables.table import EntryRow, Table
from barbench.reports.write import write_reports
from barbench.results.resampled import ResampledScores
from barbench.results.store import Store
from tests.reports.conftest import Make


def tables(folder: Path) -> dict[str, Table]:
    built = build_literature([], ResampledScores(Store(folder)))
    return {table.title.rpartition(": ")[2]: table for table in built}


def row(table: Table, heading: str, name: str) -> EntryRow:
    [section] = [section for section in table.sections if section.heading == heading]
    [found] = [row for row in section.rows if row[0].text.partition(" (")[0] == name]
    return found


def test_every_number_is_shown_once(tmp_path: Path) -> None:
    shown: Counter[str] = Counter()
    for table in tables(tmp_path).values():
        computed = [place for place, header in enumerate(table.headers) if header.name in ("flat8", "sets3", "flat9")]
        for entries in table.rows:
            numbers = [entry for place, entry in enumerate(entries) if place not in computed]
            shown.update(entry.text.partition(" (")[0] for entry in numbers if entry.value is not None)
    assert shown == Counter(str(score.value) for score in published_scores())


def test_nothing_is_ranked_and_trainings_are_apart(tmp_path: Path) -> None:
    for table in tables(tmp_path).values():
        assert not any(entry.mark for entries in table.rows for entry in entries)
        headings = [section.heading for section in table.sections]
        assert len(set(headings)) == len(headings)
        assert table.notes[0].startswith("Not ranked")


def test_the_average_that_fits_no_rule_is_flagged(tmp_path: Path) -> None:
    table = tables(tmp_path)["mIoU"]
    names = [header.name for header in table.headers]
    entries = row(table, "Training: mixed leaked", "DETRIS-L*")
    averages = dict(zip(names[-4:], entries[-4:], strict=True))
    assert {name: entry.text for name, entry in averages.items()} == {
        "flat8": "76.98", "sets3": "76.75", "flat9": "-", "printed": "77.2 (flat8)",
    }  # fmt: skip
    [mark] = averages["printed"].footnotes
    assert "fits no rule" in table.footnotes[mark - 1]


def test_a_row_says_where_it_was_seen_and_what_is_doubtful(tmp_path: Path) -> None:
    table = tables(tmp_path)["mIoU"]
    seen = [header.name for header in table.headers].index("Seen in")
    sera = row(table, "Training: one data set", "SERA")
    assert sera[seen].text == "notes-only"
    assert any("notes-only is public notes" in note for note in table.notes)
    detris = row(table, "Training: one data set", "DETRIS-B")
    texts = [table.footnotes[mark - 1] for mark in detris[0].footnotes]
    assert any("2,715,696 (1.81 %)" in text and "22.80 M head" in text for text in texts)
    assert "threshold 0.35." in texts
    quoted = next(entry for entry in detris if entry.text == "76.0")
    assert [table.footnotes[mark - 1] for mark in quoted.footnotes] == ["WIMFRIS quotes 74.3."]
    precision = tables(tmp_path)["P@0.7"]
    misprint = next(entry for entries in precision.rows for entry in entries if entry.text == "84.82")
    assert [precision.footnotes[mark - 1] for mark in misprint.footnotes] == ["misprint: larger than its P@0.5."]


def test_the_report_has_them_beside_the_papers_tables(make: Make, tmp_path: Path) -> None:
    Store(tmp_path / "results").save(make("etris", "refcoco+", {"val": 60.0}))
    store = Store(tmp_path / "results")
    written = write_reports(store, tmp_path / "out", ["all", "published"], ["md", "html"])
    assert [path.name for path in written.paths] == [
        *(f"table{number}.md" for number in range(1, 6)), "published.md", "report.html",
    ]  # fmt: skip
    page = (tmp_path / "out" / "report.html").read_text("utf-8")
    assert "Published numbers of other papers: mIoU" in page
    assert "33,331,360 (9.06 %)" in page
    plain = write_reports(store, tmp_path / "plain", formats=["html"])
    assert "Published numbers of other papers" not in plain.paths[0].read_text("utf-8")
