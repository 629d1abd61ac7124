"""Columns and rows that saw their images in training: flagged, counted, and mixed training in rows of its own."""

from barbench.reports.tables.build import build
from barbench.reports.tables.grouping import group
from barbench.results.record import Record
from tests.reports.parsed_tables import AVERAGES, Certain, cells, one, texts

SEEN = {"references": 9_000, "images": 4_000}


def test_the_flat_average_leaves_the_leaking_column_out(make) -> None:
    records = [make("snf", "refcoco", {"val": 50.0}), make("snf", "refcocog-g", {"val(g)": 60.0}, leaks=True)]
    table = one("5", records)
    assert cells(table, "datasets", "Avg")["SNF"].text == "55.0"
    assert cells(table, "columns", "Avg")["SNF"].text == "50.0"


def test_a_leaking_split_is_flagged_wherever_it_counts(make) -> None:
    records = [make("snf", "refcocog-u", {"val(u)": 50.0}), make("snf", "refcocog-g", {"val(g)": 60.0}, leaks=True)]
    flagged = {header.name for header in one("5", records).headers if header.footnotes}
    assert flagged == {"val(g)", "Avg"}
    assert one("5", records).footnotes == ("G-Ref val(g) leaks: images of it are also in the training set.",)


EIGHT = ("refcoco val", "refcoco testA", "refcoco testB", "refcoco+ val", "refcoco+ testA", "refcoco+ testB")
EIGHT += ("refcocog-u val(u)", "refcocog-u test(u)")


def mixed(make, protocol: str, first: float, **fields: object) -> Record:
    return make("barleria", protocol, {name: first + i for i, name in enumerate(EIGHT)}, **fields)


def test_a_mixed_cell_is_a_row_of_its_own_in_the_columns_of_its_members(make) -> None:
    tiny = {"backbone": "tiny"}
    records = [mixed(make, "mixed", 60.0, **tiny), make("barleria", "refcoco", {"val": 50.0}, **tiny)]
    table = build("5", group(records))[1]
    names = [(header.group, header.name) for header in table.headers[2:]]
    assert names[:3] == [("RefCOCO", "val"), ("RefCOCO", "testA"), ("RefCOCO", "testB")]
    assert names[6:] == [("G-Ref", "val(u)"), ("G-Ref", "test(u)"), ("G-Ref", "val(g)"), *AVERAGES]
    own, joint = texts(table.sections[0])
    assert [own[0], joint[0]] == ["BarLeRIa", "BarLeRIa-Mixed"]
    assert own[2:4] == ["50.0", "-"]
    assert joint[2:] == ["60.0", "61.0", "62.0", "63.0", "64.0", "65.0", "66.0", "67.0", "-", "63.8", "63.5"]


def test_only_the_row_that_saw_the_images_is_flagged(make) -> None:
    own = [make("barleria", "refcoco", {"val": 50.0}), make("snf", "refcoco", {"val": 49.0})]
    table = one("5", [mixed(make, "mixed-leaked", 60.0, leaks=True), *own], Certain())
    column = cells(table, "val", "RefCOCO")
    assert (column["BarLeRIa"].footnotes, column["BarLeRIa"].mark) == ((), "best")
    [number] = column["BarLeRIa-Mixed (leaked)"].footnotes
    assert table.footnotes[number - 1] == "Leaks: images of this column also trained this row; not ranked."
    assert column["BarLeRIa-Mixed (leaked)"].mark is None, "60.0 is more, but it saw the images"
    [header] = [h for h in table.headers if (h.group, h.name) == ("G-Ref", "val(u)")]
    assert header.footnotes  # nobody but the leaking row measured it


def test_a_mixed_cell_that_failed_says_so_in_each_of_its_columns(make) -> None:
    failed = make("barleria", "mixed", fields={"status": "out-of-memory", "reason": "17 GB"})
    table = one("5", [failed, make("snf", "refcoco", {"val": 50.0})])
    assert [entry.text for entry in table.sections[0].rows[1]][2:] == ["OOM"] * (1 + 3 + 2 + 2)  # and the averages
    assert table.footnotes == ("mixed, seed 0: out-of-memory: 17 GB",)


def test_shared_images_and_mixing_are_counted_in_notes(make) -> None:
    record = mixed(make, "mixed", 60.0, fields={"training": {**SEEN, "mixing": "clean", "removed_references": 1_200}})
    leaked = mixed(make, "mixed-leaked", 61.0, leaks=True, fields={"training": {**SEEN, "mixing": "leaked"}})
    split = leaked.splits["refcoco val"].model_copy(update={"shared_images": 1_234, "images": 1_500})
    leaked = leaked.model_copy(update={"splits": {**leaked.splits, "refcoco val": split}})
    notes = one("5", [record, leaked]).notes
    assert "Images that also trained the model: RefCOCO val 1,234 of 1,500." in notes
    [note] = [note for note in notes if note.startswith("Mixed training")]
    assert "clean, 9,000 references of 4,000 images, 1,200 left out (BarLeRIa-Mixed)" in note
    assert "leaked, 9,000 references of 4,000 images (BarLeRIa-Mixed (leaked))" in note
    assert not any(
        note.startswith(("Mixed", "Images")) for note in one("5", [make("snf", "refcoco", {"val": 1})]).notes
    )
