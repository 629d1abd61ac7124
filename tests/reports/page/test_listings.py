"""What the page lists beside the tables."""

from barbench.reports.page.listings import run_of
from barbench.reports.tables.grouping import group


def test_records_of_a_sweep_have_the_fields_in_which_they_differ(make) -> None:
    recipe = {"name": "mine", "lr": 1e-4, "own_rates": True}
    records = [
        make("snf", "refcoco", {"val": 50.0}, recipe=recipe | {"adapter_lr": 10.0}),
        make("snf", "refcoco", {"val": 51.0}, recipe=recipe | {"adapter_lr": 60.0}),
        make("etris", "refcoco+", {"val": 51.0}, recipe=recipe | {"adapter_lr": 60.0}, options={"bridge.dim": 64}),
    ]
    [members] = group(records)
    table = run_of("c1", "name", members).records
    names = [header.name for header in table.headers]
    assert names == [
        *("Method", "Split", "Seed", "options.bridge.dim", "recipe.adapter_lr"),
        *("Status", "Seconds", "Commit", "Record"),
    ]
    rows = {row[-1].text: [entry.text for entry in row[3:5]] for row in table.sections[0].rows}
    assert rows == {records[0].id: ["-", "10.0"], records[1].id: ["-", "60.0"], records[2].id: ["64", "60.0"]}
