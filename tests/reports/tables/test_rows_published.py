"""Published beside measured: what compares, by how much, and what must never stand in one ranking."""

import pytest

from barbench.paper.published import published_rows
from barbench.reports.tables.build import build
from barbench.reports.tables.grouping import group
from barbench.reports.tables.table import Entry, Section, Table
from tests.reports.parsed_tables import Certain

SPLITS = {
    "refcoco": ("val", "testA", "testB"),
    "refcoco+": ("val", "testA", "testB"),
    "refcocog-u": ("val(u)", "test(u)"),
    "refcocog-g": ("val(g)",),
}
BACKBONES = {
    "1": {},
    "2": {"backbone": "EVA02-B-16", "weights": "merged2b_s8b_b131k"},
    "3": {"backbone": "ViT-L-14-quickgelu"},
    "4": {},
    "5": {},
}


def measured(make, shift: float = 0.5, methods=("etris", "barleria"), protocols=tuple(SPLITS), **fields):
    """Records whose scores are Table 5's published ones and `shift` more."""
    records = []
    for method in methods:
        [row] = [row for row in published_rows("5") if row.harness == method]
        printed = [cell.value for cell in row.cells if cell.kind == "iou"]
        columns = [(protocol, name) for protocol, names in SPLITS.items() for name in names]
        values = dict(zip(columns, printed, strict=True))
        for protocol in protocols:
            scores = {name: values[protocol, name] + shift for name in SPLITS[protocol]}
            records.append(make(method, protocol, scores, control=dict.fromkeys(scores, 9.0), **fields))
    return records


def section(table: Table, heading: str) -> Section:
    [found] = [section for section in table.sections if section.heading == heading]
    return found


def texts(row: tuple[Entry, ...]) -> list[str]:
    return [entry.text for entry in row]


@pytest.mark.parametrize("number", ["1", "2", "3", "4", "5"])
def test_every_published_number_is_printed(make, number: str) -> None:
    """Beside any records, and without any that compare."""
    for records in ([], measured(make, backbone="tiny"), measured(make, **BACKBONES[number])):
        table = build(number, group(records))[0]
        shown = [texts(row) for found in table.sections if found.heading.startswith("Published") for row in found.rows]
        printed = [row for row in shown if not row[0].endswith(", corrected")]
        for line, row in zip(printed, published_rows(number), strict=True):
            assert line[0] == f"{row.method}{row.dagger}{f' ({row.citation})' if row.citation else ''}"
            start = [header.name for header in table.headers].index("Params (M)")  # after the check marks
            scores = [cell.printed for cell in row.cells if cell.kind in ("iou", "average")]
            parameters = [cell.printed for cell in row.cells if cell.kind == "parameters"]
            assert line[start : start + 2 + len(scores)] == [*(parameters or [""]), row.metric, *scores]
            printed_names = [c.column for c in row.cells if c.kind == "component"]
            signs = dict(zip([header.name for header in table.headers[1:start]], line[1:start], strict=True))
            assert [signs.pop(name) for name in printed_names] == [
                c.printed for c in row.cells if c.kind == "component"
            ]
            assert set(signs.values()) <= {"-"}  # a component of ours, which the paper's table has no column for


def test_table_4_has_no_empty_column_of_components(make) -> None:
    published = build("4", group([]))[0]
    assert [header.name for header in published.headers[:5]] == ["Method", "SNF", "LIM", "GST", "Params (M)"]
    foreign = make("snf", "refcoco", {"val": 50}, fields={"composition": ("LoRA",)})
    for records in ([], measured(make), [*measured(make), foreign]):
        table = build("4", group(records))[0]
        shown = section(table, "Published").rows
        count = [header.name for header in table.headers].index("Params (M)")
        assert all(entry.text for row in shown for entry in row[:count])


def test_published_rows_are_never_ranked(make) -> None:
    for number in ("1", "2", "3", "4", "5"):
        for table in build(number, group(measured(make, shift=-30.0, **BACKBONES[number])), Certain()):
            for found in table.sections:
                marked = [entry for row in found.rows for entry in row if entry.mark]
                assert not marked or found.heading.startswith("Measured"), found.heading


def test_a_measured_row_is_ranked_among_measured_rows_only(make) -> None:
    table = build("5", group(measured(make, shift=-30.0)), Certain())[0]
    best = {row[0].text: [entry.mark for entry in row[3:]] for row in section(table, "Measured").rows}
    assert set(best["BarLeRIa"]) == {"best"}
    assert set(best["ETRIS"]) == {None}


def test_the_difference_to_the_published_number(make) -> None:
    table = build("5", group(measured(make, shift=0.5)))[0]
    rows = section(table, "Measured − published (mean IoU)").rows
    assert [texts(row)[0] for row in rows] == ["ETRIS", "BarLeRIa"]
    assert texts(rows[0])[3:12] == ["+0.5"] * 9
    printed_average = 62.8
    mine = ((70.5 + 73.5 + 66.6) / 3 + (60.1 + 66.9 + 50.2) / 3 + (59.8 + 59.9 + 57.9) / 3) / 3 + 0.5
    assert texts(rows[0])[12] == f"{mine - printed_average:+.1f}"
    assert rows[0][3].value == 0.5
    lower = build("5", group(measured(make, shift=-0.75, methods=["barleria"], protocols=["refcoco"])))[0]
    [row] = section(lower, "Measured − published (mean IoU)").rows
    assert texts(row)[3:] == ["−0.8"] * 3 + ["-"] * 8  # no average: only some of its columns were measured
    assert [entry.value for entry in row[3:5]] == [-0.8, -0.8]


def test_the_difference_is_to_the_corrected_average(make) -> None:
    fields = {"backbone": "EVA02-B-16", "weights": "merged2b_s8b_b131k"}
    [paper] = [row for row in published_rows("2") if row.harness == "etris"]
    values = iter(cell.value for cell in paper.cells if cell.kind == "iou")
    records = [
        make("etris", protocol, {name: next(values) for name in SPLITS[protocol]}, **fields)
        for protocol in ("refcoco", "refcoco+", "refcocog-u")
    ]
    table = build("2", group(records))[0]
    [row] = section(table, "Measured − published (mean IoU)").rows
    assert texts(row)[3:11] == ["+0.0"] * 8
    assert [header.name for header in table.headers[11:]] == ["columns", "datasets"]
    assert texts(row)[11:] == ["+0.0", "+0.0"]  # 66.725 less 66.7; less 66.1 it would be +0.6


def test_corrected_rows_stand_under_the_printed_ones() -> None:
    [table] = build("2", group([]))
    rows = [texts(row) for row in section(table, "Published").rows]
    names = [row[0] for row in rows]
    at = names.index("PolyFormer-B, corrected")
    assert names[at - 1] == "PolyFormer-B† (Liu et al., 2023)"
    assert (rows[at - 1][6:9], rows[at][6:9]) == (["67.6", "59.3", "72.9"], ["67.6", "72.9", "59.3"])
    swapped = [row for row in section(table, "Published").rows if row[0].text.startswith("PolyFormer")]
    assert [[bool(entry.footnotes) for entry in row[6:9]] for row in swapped] == [[False, True, True]] * 2
    etris = rows[names.index("ETRIS, corrected")]
    assert (rows[names.index("ETRIS, corrected") - 1][11], etris[11]) == ("66.1", "66.7")
    assert sum("corrected" in name for name in names) == 2
    assert any("66.1 fits no average" in text for text in table.footnotes)


def test_misprints_are_footnotes_or_notes_of_their_tables() -> None:
    every = {number: build(number, group([]))[0] for number in ("1", "2", "3", "4", "5")}
    assert any("numbers of CMPC" in text for text in every["1"].footnotes)
    assert any("one is probably misplaced" in text for text in every["1"].footnotes)
    assert any("120,191" in note for note in every["1"].notes)
    assert any("swapped" in text for text in every["3"].footnotes)
    assert any("ConvNeXt-L" in note for note in every["3"].notes)
    assert any("28%" in note for note in every["4"].notes)
    assert any("28%" in note for note in every["5"].notes)
    for table in every.values():
        assert len(set(table.notes)) == len(table.notes)
        assert len(set(table.footnotes)) == len(table.footnotes)


def test_the_leaking_column_is_flagged_though_nothing_was_measured() -> None:
    for number, flagged in (("1", {"val(g)", "datasets"}), ("4", {"G-Ref", "Avg"}), ("5", {"val(g)", "datasets"})):
        table = build(number, group([]))[0]
        marked = {header.name for header in table.headers if header.footnotes}
        assert marked == flagged
        assert table.footnotes[0].startswith("G-Ref val(g) leaks")
    assert not any(header.footnotes for header in build("2", group([]))[0].headers)


@pytest.mark.parametrize(
    "fields",
    [
        {"data": {"kind": "shapes", "fingerprint": "f"}},
        {"weights": "random"},
        {"weights": "laion2b_s34b_b88k"},
        {"backbone": "tiny"},
    ],
)
def test_what_does_not_compare_stands_alone(make, fields) -> None:
    published, alone = build("5", group(measured(make, **fields)))
    assert published.title.endswith("as published")
    assert not any(found.heading.startswith(("Published", "Measured −")) for found in alone.sections)
    assert "measured with" in alone.title
    if "data" in fields:
        assert "synthetic shapes" in alone.title
        assert "not comparable with the paper" in alone.caption


def test_real_and_synthetic_records_never_share_a_table(make) -> None:
    shapes = measured(make, data={"kind": "shapes", "fingerprint": "f"})
    joint, alone = build("5", group(measured(make) + shapes))
    assert len(section(joint, "Measured").rows) == 2
    assert len(alone.sections[0].rows) == 2


def test_weights_from_a_file_stand_for_the_papers(make) -> None:
    [table] = build("5", group(measured(make, weights="ViT-B-16.pt@0123abcd")))
    assert section(table, "Measured − published (mean IoU)").rows
    assert "ViT-B-16.pt@0123abcd" in table.caption


def test_options_and_foreign_methods_have_no_published_partner(make) -> None:
    records = [*measured(make, methods=["barleria"], options={"gst.prior": False}), *measured(make, methods=["snf"])]
    rows = section(build("5", group(records))[0], "Measured − published (mean IoU)").rows
    assert [texts(row)[0] for row in rows] == ["SNF"]
    assert not [
        found for found in build("1", group(records))[0].sections if found.heading == "Measured − published (mean IoU)"
    ]


def test_tables_take_their_own_backbones(make) -> None:
    large = measured(make, backbone="ViT-L-14-quickgelu")
    assert [len(build(number, group(large))) for number in ("1", "2", "3", "4", "5")] == [1] * 5
    assert [bool(build(n, group(large))[0].title.endswith("as published")) for n in "12345"] == [
        True,
        True,
        False,
        True,
        True,
    ]
    tiny = measured(make, backbone="tiny")
    assert [len(build(number, group(tiny))) for number in ("1", "2", "3", "4", "5")] == [
        *(2, 1, 1, 2, 2)
    ]  # tiny stands for ViT-B/16


def test_tables_2_and_3_leave_the_google_partition_out(make) -> None:
    for number in ("2", "3"):
        table = build(number, group(measured(make, **BACKBONES[number])))[0]
        assert "val(g)" not in {header.name for header in table.headers}
        mean = (59.8 + 59.9) / 2 + 0.5  # of ETRIS's G-Ref columns
        expected = ((70.5 + 73.5 + 66.6) / 3 + 0.5 + (60.1 + 66.9 + 50.2) / 3 + 0.5 + mean) / 3
        assert texts(section(table, "Measured").rows[0])[-1] == f"{expected:.1f}"


EIGHT = [f"{protocol} {name}" for protocol, names in SPLITS.items() for name in names if protocol != "refcocog-g"]


def test_mixed_rows_compare_with_mixed_rows(make) -> None:
    fields = BACKBONES["3"]
    scores = dict.fromkeys(EIGHT, 80.0)
    records = [make("barleria", protocol, scores, **fields) for protocol in ("mixed", "mixed-leaked")]
    records.append(make("barleria", "refcoco", dict.fromkeys(SPLITS["refcoco"], 80.0), **fields))
    table = build("3", group(records))[0]
    rows = {texts(row)[0]: row for row in section(table, "Measured − published (mean IoU)").rows}
    assert texts(rows["BarLeRIa"])[3] == "+3.2"  # 80.0 less BarLeRIa-L's 76.8
    assert texts(rows["BarLeRIa-Mixed"])[3] == "+1.0"  # less BarLeRIa-L-Mixed's 79.0
    [number] = rows["BarLeRIa-Mixed (leaked)"][0].footnotes
    assert "does not say" in table.footnotes[number - 1]
    assert rows["BarLeRIa"][0].footnotes == ()


def test_overall_iou_is_measured_where_the_paper_quotes_it(make) -> None:
    for number in ("1", "2", "3"):
        table = build(number, group(measured(make, **BACKBONES[number])))[0]
        found = section(table, "Measured, overall IoU")
        assert {texts(row)[2] for row in found.rows} == {"overall"}
        assert {text for row in found.rows for text in texts(row)[3:]} == {"50.0"}  # the fixture's
    for number in ("4", "5"):
        assert not any("overall" in found.heading for found in build(number, group(measured(make)))[0].sections)


def test_numbers_carry_a_value_to_sort_by(make) -> None:
    for number in ("1", "2", "3", "4", "5"):
        for table in build(number, group(measured(make, **BACKBONES[number]))):
            for found in table.sections:
                for entry in (entry for row in found.rows for entry in row[1:]):
                    numeric = entry.text.replace("−", "-").replace("+", "").partition("±")[0]
                    assert entry.value == (float(numeric) if numeric.strip("-✓×") and numeric[-1].isdigit() else None)
