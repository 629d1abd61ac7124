"""Averages, ranks and refusals to mix, against the paper's own numbers and formulas written out here."""

from math import sqrt
from statistics import fmean, stdev

import pytest

from barbench.errors import UnknownName
from barbench.methods.catalog import METHODS
from barbench.paper.tables import OWN_NECKS
from barbench.reports.tables.build import build, build_measured
from barbench.reports.tables.grouping import group
from barbench.results.record import Cell, Record
from tests.reports.parsed_tables import AVERAGES, Certain, cells, one, texts

PAPER_TABLE_5 = {  # as printed: nine columns and the average
    "etris": (70.5, 73.5, 66.6, 60.1, 66.9, 50.2, 59.8, 59.9, 57.9, 62.8),
    "snf": (70.8, 73.8, 67.2, 60.5, 67.1, 51.1, 60.0, 60.0, 58.0, 63.2),
    "snf-etris": (70.4, 73.3, 66.9, 60.5, 66.1, 53.0, 60.6, 60.8, 59.0, 63.4),
    "no-global": (71.7, 74.6, 68.0, 64.0, 70.2, 55.1, 62.2, 62.3, 60.2, 65.4),
    "barleria": (72.4, 75.9, 68.3, 65.0, 70.8, 56.9, 63.4, 63.8, 61.6, 66.5),
}
PAPER_TABLE_4 = {  # as printed: parameters (M), RefCOCO, RefCOCO+, G-Ref, average
    "ETRIS": ("1.39", 70.2, 59.1, 59.2, 62.8),
    "SNF": ("0.18", 70.6, 59.6, 59.3, 63.2),
    "SNF+ETRIS": ("1.57", 70.2, 59.9, 60.1, 63.4),
    "No Global": ("0.39", 71.4, 63.1, 61.6, 65.4),
    "BarLeRIa": ("2.21", 72.2, 64.2, 62.9, 66.5),
}
SPLITS = {
    "refcoco": ("val", "testA", "testB"),
    "refcoco+": ("val", "testA", "testB"),
    "refcocog-u": ("val(u)", "test(u)"),
    "refcocog-g": ("val(g)",),
}


@pytest.fixture
def paper(make) -> list[Record]:
    records = []
    for method, printed in PAPER_TABLE_5.items():
        values = iter(printed)
        for protocol, columns in SPLITS.items():
            records.append(make(method, protocol, {column: next(values) for column in columns}))
    return records


def test_table_5_prints_the_papers_table_5(paper: list[Record]) -> None:
    table = one("5", paper)
    assert table.header_groups == [("", 1), ("", 1), ("RefCOCO", 3), ("RefCOCO+", 3), ("G-Ref", 3), ("Avg", 2)]
    assert [header.name for header in table.headers] == [
        *("Method", "Params (M)", "val", "testA", "testB", "val", "testA", "testB"),
        *("val(u)", "test(u)", "val(g)", "datasets", "columns"),
    ]
    expected = [
        [title, PAPER_TABLE_4[title][0], *(f"{value:.1f}" for value in printed), f"{sum(printed[:8]) / 8:.1f}"]
        for title, printed in zip(PAPER_TABLE_4, PAPER_TABLE_5.values(), strict=True)
    ]
    assert texts(table.sections[0]) == expected


def test_table_4_prints_the_papers_table_4(paper: list[Record]) -> None:
    table = one("4", paper)
    assert [header.name for header in table.headers] == [
        *("Method", "SNF", "ETRIS", "LIM", "GST", "Params (M)", "RefCOCO", "RefCOCO+", "G-Ref", "Avg")
    ]
    checks = {"ETRIS": "×✓××", "SNF": "✓×××", "SNF+ETRIS": "✓✓××", "No Global": "✓×✓×", "BarLeRIa": "✓×✓✓"}
    assert texts(table.sections[0]) == [
        [title, *checks[title], printed[0], *(f"{value:.1f}" for value in printed[1:])]
        for title, printed in PAPER_TABLE_4.items()
    ]


def test_average_is_of_unrounded_dataset_means(make) -> None:
    plus, both = {"val": 50.04, "testA": 41.0, "testB": 33.3}, {"val(u)": 10.0, "test(u)": 21.0}
    table = one("5", [make("snf", "refcoco+", plus), make("snf", "refcocog-u", both)])
    expected = ((50.04 + 41.0 + 33.3) / 3 + (10.0 + 21.0) / 2) / 2
    assert cells(table, "datasets", "Avg")["SNF"].text == f"{expected:.1f}"
    flat = (50.04 + 41.0 + 33.3 + 10.0 + 21.0) / 5
    assert cells(table, "columns", "Avg")["SNF"].text == f"{flat:.1f}" != f"{expected:.1f}"


def test_the_best_is_marked_and_whatever_equals_it(make) -> None:
    values = {"etris": 50.0, "snf": 50.0, "snf-etris": 48.0, "no-global": 47.0}
    table = one("5", [make(method, "refcoco", {"val": value}) for method, value in values.items()], Certain())
    marks = {label: entry.mark for label, entry in cells(table, "val", "RefCOCO").items()}
    assert marks == {"ETRIS": "best", "SNF": "best", "SNF+ETRIS": None, "No Global": None}
    assert [header.name for header in table.headers] == ["Method", "Params (M)", "val"]  # one column is its own average


def test_without_counts_of_expressions_nothing_is_marked(make) -> None:
    table = one("5", [make("etris", "refcoco", {"val": 50.0}), make("snf", "refcoco", {"val": 10.0})])
    assert {entry.mark for entry in cells(table, "val", "RefCOCO").values()} == {None}


def test_the_ends_are_reference_rows_and_the_gap_is_what_lies_between(make) -> None:
    values = {"head-only": 30.0, "etris": 35.0, "snf": 40.0, "full": 50.0}
    table = one("5", [make(m, "refcoco+", {"val": v, "testA": v}) for m, v in values.items()], Certain())
    assert [row[0].text for row in table.sections[0].rows] == ["Head only", "ETRIS", "SNF", "Full fine-tuning"]
    assert {label: e.mark for label, e in cells(table, "val", "RefCOCO+").items() if e.mark} == {"SNF": "best"}
    gaps = {label: entry.text for label, entry in cells(table, "Gap closed").items()}
    assert gaps == {"Head only": "", "ETRIS": "25±0 %", "SNF": "50±0 %", "Full fine-tuning": ""}
    assert any(note.startswith("Gap closed: (method - head only)") for note in table.notes)


def test_no_gap_where_the_ends_do_not_differ_and_no_column_without_both(make) -> None:
    values = {"head-only": 50.0, "etris": 55.0, "full": 30.0}
    records = [make(m, "refcoco", {"val": v}) for m, v in values.items()]
    assert cells(one("5", records, Certain()), "Gap closed")["ETRIS"].text == "no gap"
    assert "Gap closed" not in [header.name for header in one("5", records[:2], Certain()).headers]


def test_one_seed_is_said_in_the_caption(make) -> None:
    records = [make("snf", "refcoco", {"val": 40.0}, seed=seed) for seed in (0, 1)]
    assert one("5", records[:1]).caption.endswith("One seed.")
    assert "One seed" not in one("5", records).caption


def test_a_single_row_is_not_ranked(make) -> None:
    assert cells(one("5", [make("snf", "refcoco", {"val": 50})]), "val", "RefCOCO")["SNF"].mark is None


def test_seeds_are_put_together(make) -> None:
    a, b, c = {"val": 40.0, "testA": 50.0}, {"val": 43.0, "testA": 50.0}, {"val": 44.2, "testA": 53.0}
    records = [make("snf", "refcoco", values, seed=seed) for seed, values in enumerate((a, b, c))]
    table = one("5", records)

    def summary(values: list[float]) -> str:
        return f"{fmean(values):.1f}±{4.302653 * stdev(values) / sqrt(3):.1f}"  # Student's t, two degrees of freedom

    entry = cells(table, "val", "RefCOCO")["SNF"]
    assert entry.text == summary([40.0, 43.0, 44.2])
    assert entry.value == 42.4
    per_seed = [(40.0 + 50.0) / 2, (43.0 + 50.0) / 2, (44.2 + 53.0) / 2]
    assert cells(table, "Avg")["SNF"].text == summary(per_seed)
    assert any("±: half of the 95% interval, over images and seeds (0, 1, 2)." in note for note in table.notes)


def test_a_row_with_fewer_seeds_says_so(make) -> None:
    records = [make("snf", "refcoco", {"val": 40.0 + seed}, seed=seed) for seed in (0, 1, 2)]
    records += [make("etris", "refcoco", {"val": 41.0 + seed}, seed=seed) for seed in (0, 2)]
    table = one("5", records)
    entry = cells(table, "val", "RefCOCO")["ETRIS"]
    assert [table.footnotes[n - 1] for n in entry.footnotes] == ["n = 2: seed 0, 2."]


def test_a_row_with_fewer_seeds_has_an_interval_of_its_own_and_is_not_ranked(make) -> None:
    records = [make("snf", "refcoco", {"val": 40.0}, seed=seed) for seed in (0, 1)]
    records += [make("no-global", "refcoco", {"val": 38.0}, seed=seed) for seed in (0, 1)]
    records += [make("etris", "refcoco", {"val": 41.0})]
    entries = cells(one("5", records, Certain()), "val", "RefCOCO")
    assert (entries["ETRIS"].text, entries["ETRIS"].mark) == ("41.0±0.0", None)
    assert entries["SNF"].mark == "best"


def test_failures_are_printed_with_their_reason(make) -> None:
    oom = {"status": "out-of-memory", "reason": "CUDA out of\nmemory"}
    records = [
        make("etris", "refcoco+", {"val": 50.0, "testA": 51.0}),
        make("snf", "refcoco+", fields=oom),
        make("barleria", "refcoco+", fields={"status": "failed", "reason": "killed by signal 9"}),
    ]
    table = one("5", records)
    rows = {row[0].text: row for row in table.sections[0].rows}
    assert [entry.text for entry in rows["SNF"]] == ["SNF", "0.18", "OOM", "OOM", "OOM"]
    assert [entry.text for entry in rows["BarLeRIa"]] == ["BarLeRIa", "2.21", "failed", "failed", "failed"]
    assert table.footnotes[rows["SNF"][2].footnotes[0] - 1] == "refcoco+, seed 0: out-of-memory: CUDA out of memory"
    assert table.footnotes[rows["BarLeRIa"][2].footnotes[0] - 1] == "refcoco+, seed 0: failed: killed by signal 9"


def test_a_failed_seed_is_named_beside_the_others(make) -> None:
    lost = {"status": "failed", "reason": "loss became nan"}
    records = [make("snf", "refcoco", {"val": 40.0}, seed=0), make("snf", "refcoco", fields=lost, seed=1)]
    table = one("5", records)
    assert cells(table, "val", "RefCOCO")["SNF"].text == "40.0"
    assert table.footnotes == ("refcoco, seed 1: failed: loss became nan",)


def test_everything_failed_still_gives_a_table(make) -> None:
    table = one("5", [make("snf", "refcoco+", fields={"status": "failed", "reason": "no space"})])
    assert texts(table.sections[0]) == [["SNF", "0.18", "failed", "failed", "failed", "failed"]]
    assert len(table.footnotes) == 1


def test_an_average_over_less_is_not_ranked(make) -> None:
    records = [
        make("etris", "refcoco", {"val": 40.0, "testA": 41.0}),
        make("snf", "refcoco", {"val": 39.0, "testA": 40.0}),
        make("barleria", "refcoco", {"val": 90.0}),
    ]
    table = one("5", records, Certain())
    average = cells(table, "Avg")
    assert (average["BarLeRIa"].text, average["BarLeRIa"].mark) == ("90.0", None)
    assert [table.footnotes[n - 1] for n in average["BarLeRIa"].footnotes] == ["Without RefCOCO testA; not ranked."]
    assert (average["ETRIS"].mark, average["SNF"].mark) == ("best", None)
    assert cells(table, "testA", "RefCOCO")["BarLeRIa"].text == "-"


def test_the_swapped_control_stands_under_every_column(make) -> None:
    given, swapped = {"val": 50.0, "testA": 52.0}, {"val": 5.0, "testA": 8.0}
    records = [make("snf", "refcoco+", given, control=swapped), make("etris", "refcoco+", given)]
    main, control = one("5", records).sections
    assert control.heading == "Expressions swapped (lower is better)"
    assert texts(control) == [["SNF", "", "5.0", "8.0", f"{(5.0 + 8.0) / 2:.1f}"]]
    assert len(main.rows) == 2
    assert all(entry.mark is None for row in control.rows for entry in row)
    [dataset] = one("4", records).sections[1].rows
    assert dataset[-1].text == f"{(5.0 + 8.0) / 2:.1f}"


def test_columns_are_the_measured_ones_or_the_papers_nine(make) -> None:
    tiny = {"backbone": "tiny"}
    single = [make("snf", "refcoco+", {"val": 50.0, "testA": 51.0, "testB": 52.0}, **tiny)]
    double = [*single, make("snf", "refcocog-u", {"val(u)": 50.0, "test(u)": 51.0}, **tiny)]
    assert build("5", group(single))[1:] == build_measured("5", group(single))
    assert "Only the measured columns are printed." in one("5", single).notes
    assert len(one("5", double).headers) == 2 + 5 + 2
    nine = build("5", group(double))[1]
    assert len(nine.headers) == 2 + 9 + 2
    assert texts(nine.sections[0])[0][2:] == [
        "-",
        "-",
        "-",
        "50.0",
        "51.0",
        "52.0",
        *("50.0", "51.0", "-", "50.8", "50.8"),
    ]
    assert "-: not measured." in nine.notes


def test_what_cannot_be_compared_is_never_mixed(make) -> None:
    base = make("snf", "refcoco", {"val": 50.0})
    others = [
        make("etris", "refcoco", {"val": 50.0}, backbone="tiny"),
        make("etris", "refcoco", {"val": 50.0}, weights="random"),
        make("etris", "refcoco", {"val": 50.0}, image_size=224),
        make("etris", "refcoco", {"val": 50.0}, precision="bf16"),
        make("etris", "refcoco", {"val": 50.0}, processes=2),
        make("etris", "refcoco", {"val": 50.0}, recipe={"name": "demo"}),
        make("etris", "refcoco", {"val": 50.0}, recipe={"name": "paper", "train": {"lr": 3e-4}}),
        make("etris", "refcoco", {"val": 50.0}, data={"kind": "shapes", "fingerprint": "hash of refcoco"}),
        make("etris", "refcoco", {"val": 50.0}, data={"kind": "refer", "fingerprint": "another copy"}),
    ]
    for other in others:
        assert [len(table.sections[0].rows) for table in build_measured("5", group([base, other]))] == [1, 1]
    captions = [table.caption for table in build_measured("5", group([base, others[6]]))]
    assert ["train.lr=0.0001" in text for text in captions] == [True, False]
    assert ["train.lr=0.0003" in text for text in captions] == [False, True]
    assert ["another copy" in table.caption for table in build_measured("5", group([base, others[8]]))].count(True) == 1
    assert (
        len(build_measured("5", group([base, make("etris", "refcoco+", {"val": 50.0})]))) == 1
    )  # each protocol has its own hash


def test_shapes_are_said_to_be_no_comparison(make) -> None:
    shapes = one("4", [make("snf", "refcoco", {"val": 50.0}, data={"kind": "shapes", "fingerprint": "f"})])
    assert "Synthetic shapes, not comparable with the paper." in shapes.caption
    assert "Synthetic" not in one("4", [make("snf", "refcoco", {"val": 50.0})]).caption


def test_rows_of_one_title_are_told_apart_and_options_named(make) -> None:
    records = [make("etris", "refcoco", {"val": 50.0}), make("etris", "refcoco", {"val": 51.0}, options={"dim": 64})]
    table = one("5", records)
    assert [row[0].text for row in table.sections[0].rows] == ["ETRIS (etris)", "ETRIS (etris, dim=64)"]
    assert "Options: ETRIS (etris, dim=64) dim=64." in table.notes


def rated(make, method: str, adapter_lr: float, iou: float, **fields: object) -> Record:
    recipe = {"name": "mine", "lr": 1e-4, "adapter_lr": adapter_lr, "own_rates": True}
    return make(method, "refcoco", {"val": iou}, recipe=recipe, **fields)


def test_other_learning_rates_are_another_row(make) -> None:
    records = [rated(make, "snf", rate, 50 + rate) for rate in (1, 2, 3)]
    table = one("5", [*records, rated(make, "etris", 9, 40)])
    assert [row[0].text for row in table.sections[0].rows] == [
        "ETRIS",
        "SNF (snf, adapter_lr=1)",
        "SNF (snf, adapter_lr=2)",
        "SNF (snf, adapter_lr=3)",
    ]
    assert [row[2].text for row in table.sections[0].rows] == ["40.0", "51.0", "52.0", "53.0"]
    [note] = [note for note in table.notes if note.startswith("Trained more than once")]
    assert "SNF (snf, adapter_lr=2) lr=0.0001, adapter_lr=2" in note
    assert "ETRIS" not in note


def test_other_learning_rates_are_no_further_seeds(make) -> None:
    records = [rated(make, "snf", rate, 50 + rate, seed=rate) for rate in (1, 2)]
    records += [rated(make, "snf", 2, 53, seed=1)]
    rows = one("5", records).sections[0].rows
    assert [row[2].text.partition("±")[0] for row in rows] == ["51.0", "52.5"]


def test_rates_and_options_tell_rows_apart_together(make) -> None:
    narrow = rated(make, "etris", 1, 50, options={"dim": 64})
    table = one("5", [narrow, rated(make, "etris", 1, 51), rated(make, "etris", 2, 52)])
    assert [row[0].text for row in table.sections[0].rows] == [
        "ETRIS (etris, adapter_lr=1)",
        "ETRIS (etris, adapter_lr=2)",
        "ETRIS (etris, dim=64)",
    ]


def test_the_gap_needs_one_row_at_each_end(make) -> None:
    ends = [rated(make, "head-only", 1, 30), rated(make, "full", 1, 60), rated(make, "snf", 1, 50)]
    assert "Gap" in " ".join(header.name for header in one("4", ends).headers)
    assert "Gap" not in " ".join(header.name for header in one("4", [*ends, rated(make, "full", 2, 61)]).headers)


OTHER: dict[str, object] = {
    "method": "snf",
    "options": {"dim": 64},
    "backbone": "ViT-L-14",
    "weights": "random",
    "image_size": 224,
    "dataset": "refcoco+",
    "recipe": {"name": "paper", "lr": 2e-4, "own_rates": True},
    "seed": 1,
    "data": {"kind": "refer", "fingerprint": "another copy"},
    "precision": "bf16",
    "processes": 2,
    "context_length": 30,
    "exif": "apply",
    "neck": "none",
    "head_form": "linear",
    "held_out": 20,
    "subset": {"evaluate": 60},
}


@pytest.mark.parametrize("name", [name for name in Cell.model_fields if name != "scaled"])
def test_whatever_is_in_a_cells_identity_tells_records_apart(name: str, make) -> None:
    """In tables, rows, columns or seeds; a new field of a cell needs its line above. `scaled` is in none."""
    recipe = {"name": "paper", "lr": 1e-4, "own_rates": True}
    base = make("etris", "refcoco", {"val": 50.0}, recipe=recipe)
    changed = base.cell.model_dump() | {name: OTHER[name]}
    cell = Cell.model_validate(changed)
    other = base.model_copy(update={"id": cell.id(), "cell": cell})
    places = []
    for number, members in enumerate(group([base, other])):
        for row in members.rows:
            assert not row.hidden
            for column, seeds in row.iou.items():
                places += [(number, row.label, column, seed) for seed in seeds]
    assert len(set(places)) == 2


def test_rows_of_different_necks_are_in_tables_of_their_own_whose_headings_say_which(make) -> None:
    """Also those of a method that brings its own neck."""
    base = make("etris", "refcoco", {"val": 50.0})
    records = [base]
    linear = {"neck": "none", "head_form": "linear"}
    for change in ({"method": "cris"}, {"neck": "none"}, linear):
        cell = base.cell.model_copy(update=change)
        records.append(base.model_copy(update={"id": cell.id(), "cell": cell}))
    tables = build("5", group(records))
    measured = [table for table in tables if "measured with" in table.title or "published and measured" in table.title]
    assert len(measured) == 4
    captions = " ".join(table.caption for table in measured)
    assert all(f", {head}, recipe" in captions for head in ("neck etris", "neck cris", "neck none", "linear head"))
    assert all(len(table.sections[0].rows) == 1 for table in measured if "published" not in table.title)


def test_methods_that_bring_a_neck_are_those_of_the_catalogue() -> None:
    assert {spec.name: spec.neck for spec in METHODS if spec.neck} == OWN_NECKS


def test_published_sizes_and_sizes_in_proportion_are_two_rows(make) -> None:
    """Both can lie in one folder; the table says which is which, and lists the sizes below."""
    published = make("etris", "refcoco", {"val": 50.0})
    cell = published.cell.model_copy(update={"options": {"bridge.dim": 16}, "scaled": ("bridge.dim",)})
    scaled = published.model_copy(update={"id": cell.id(), "cell": cell})
    [members] = group([published, scaled])
    assert {row.label for row in members.rows} == {"ETRIS (etris)", "ETRIS (etris, bridge.dim=16)"}
    table = one("5", [published, scaled])
    assert any("Sizes in proportion to the backbone: ETRIS (etris, bridge.dim=16)" in note for note in table.notes)


def test_a_record_that_has_no_place_is_named(make) -> None:
    """As where two records of one cell were put together by a program."""
    record = make("etris", "refcoco", {"val": 50.0})
    twice = record.model_copy(update={"notes": ("again",)})
    table = one("5", [record, twice])
    [note] = [note for note in table.notes if note.startswith("Not shown")]
    assert record.cell.stem() in note


def test_a_component_outside_the_paper_gets_its_column(make) -> None:
    lora = make("snf", "refcoco", {"val": 50.0}, fields={"title": "LoRA", "composition": ("LoRA",)})
    table = one("4", [lora, make("head-only", "refcoco", {"val": 40.0})])
    assert [header.name for header in table.headers[1:6]] == ["SNF", "ETRIS", "LIM", "GST", "LoRA"]
    assert [row[0].text for row in table.sections[0].rows] == ["Head only", "LoRA"]


def test_parameters_are_the_adapters_and_the_note_has_the_rest(make) -> None:
    head = {"ledger": {"adapter": 2_205_920, "positional": 559_360, "head": 22_745_601, "frozen": 1}}
    records = [make("snf", "refcoco", {"val": 50.0}), make("barleria", "refcoco", {"val": 51.0}, fields=head)]
    [note] = [note for note in one("4", records).notes if note.startswith("Params")]
    assert "adapter group only" in note
    assert "head 22.67 M (SNF); 22.75 M (BarLeRIa)" in note
    assert "positional embeddings none (SNF); 0.56 M (BarLeRIa)" in note


def test_budgets_and_data_problems_are_noted(make) -> None:
    fields = {"tuning_budget": "8 trials", "data_problems": {"reference without annotation, left out": 3}}
    notes = one(
        "5", [make("snf", "refcoco", {"val": 50.0}, fields=fields), make("etris", "refcoco", {"val": 50})]
    ).notes
    assert "Tuning budget: none (ETRIS); 8 trials (SNF)." in notes
    assert "Data problems: refcoco reference without annotation, left out 3." in notes


def test_what_records_have_to_say_is_noted_once_with_its_rows(make) -> None:
    said, both = {"notes": ("cell a ran out of memory", "seen twice")}, {"notes": ("seen twice",)}
    notes = one(
        "5",
        [
            make("etris", "refcoco", {"val": 50.0}),
            make("snf", "refcoco", {"val": 50.0}, fields=said),
            make("snf", "refcoco+", {"val": 40.0}, fields=said),
            make("barleria", "refcoco", {"val": 50.0}, fields=both),
        ],
    ).notes
    assert notes[-2:] == ("SNF: cell a ran out of memory.", "SNF, BarLeRIa: seen twice.")


def test_a_protocol_from_outside_has_its_own_group(make) -> None:
    table = one("5", [make("snf", "elsewhere", {"val": 50.0}), make("snf", "refcoco", {"val": 40.0})])
    assert [(header.group, header.name) for header in table.headers[2:]] == [
        ("RefCOCO", "val"),
        ("elsewhere", "val"),
        *AVERAGES,
    ]


def test_unknown_table(make) -> None:
    with pytest.raises(UnknownName, match="unknown table '6'"):
        build_measured("6", group([]))


def test_data_versions_are_named(make) -> None:
    records = [
        make("snf", protocol, {"val": 50.0}, data={"kind": "shapes", "fingerprint": version})
        for protocol, version in (("refcoco", "a" * 64), ("refcoco+", "b" * 64))
    ]
    assert "Data version aaaaaaaaaaaa (refcoco); bbbbbbbbbbbb (refcoco+)." in one("5", records).notes
    assert "Data version aaaaaaaaaaaa." in one("5", records[:1]).notes


def test_a_failed_record_does_not_speak_for_its_row(make) -> None:
    lost = {"status": "failed", "reason": "killed", "composition": (), "ledger": {}}
    table = one("4", [make("snf", "refcoco", fields=lost, seed=0), make("snf", "refcoco", {"val": 50.0}, seed=1)])
    assert [entry.text for entry in table.sections[0].rows[0]] == ["SNF", "✓", "×", "×", "×", "0.18", "50.0"]


def test_leaving_a_dataset_out_of_a_group_is_grouping_without_its_records(make) -> None:
    """Also where another dataset alone has two versions, or two methods share a title."""
    records = [
        make(method, protocol, {"val": 50.0 + seed}, seed=seed, options=options)
        for method, options in (("etris", {}), ("etris", {"bridge.dim": 16}), ("snf", {}))
        for protocol in ("refcoco", "refcocog-g")
        for seed in (1, 0)
    ]
    kept = [record for record in records if record.cell.dataset != "refcocog-g"]
    assert [members.without(lambda name: name == "refcocog-g") for members in group(records)] == group(kept)
    assert [members.without(lambda name: False) for members in group(records)] == group(records)
