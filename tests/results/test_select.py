"""What a person calls a cell, and which cells it means."""

import pytest

from barbench.errors import UnknownName, UsageError
from barbench.results.select import differing, named, one, runs
from barbench.results.store import Store
from tests.results.conftest import Put


def test_a_cell_has_many_names(store: Store, put: Put) -> None:
    etris, both = put("etris"), put("snf-etris")
    records = store.all()
    for name in ("etris", "ETRIS", "Etris", etris.id, etris.id[:6], etris.cell.stem(), "etris--tiny"):
        assert one(records, name).id == etris.id
    for name in ("snf-etris", "snf+etris", both.id, "snf-"):
        assert one(records, name).id == both.id


def test_a_method_alone_means_it_without_options(store: Store, put: Put) -> None:
    plain, changed = put("etris"), put("etris", title="Narrow bridge", options={"bridge.dim": 16})
    assert one(store.all(), "etris").id == plain.id
    assert one(store.all(), "narrow bridge").id == changed.id
    store.path(plain.cell).unlink()
    assert one(store.all(), "etris").id == changed.id


def test_a_name_that_means_several_lists_them(store: Store, put: Put) -> None:
    found = [put("etris", seed=seed) for seed in (0, 1)]
    with pytest.raises(UsageError, match="can mean 2 cells") as error:
        one(store.all(), "etris")
    assert all(record.cell.stem() in str(error.value) for record in found)


def test_a_name_that_means_nothing(store: Store, put: Put) -> None:
    with pytest.raises(UsageError, match="no finished cell"):
        named(store.all(), "etris")
    put("etris")
    put("snf", status="failed")
    with pytest.raises(UnknownName, match="unknown cell 'etriss'"):
        named(store.all(), "etriss")
    with pytest.raises(UnknownName, match="unknown cell 'snf'"):
        named(store.all(), "snf")


def test_runs_differ_in_the_seed_alone(store: Store, put: Put) -> None:
    for seed in (2, 0, 1):
        put("etris", seed=seed)
    put("etris", recipe={"name": "paper"})
    records = store.all()
    assert [r.cell.seed for r in runs(records, "etris", {"recipe": "demo", "backbone": None})] == [0, 1, 2]
    with pytest.raises(UsageError, match="--recipe") as error:
        runs(records, "etris", {})
    assert "recipe.name paper" in str(error.value)
    with pytest.raises(UsageError, match="no finished cell of 'etris' with image size 64") as error:
        runs(records, "etris", {"image_size": "64"})
    assert "etris--tiny" in str(error.value)


def test_what_differs_is_told_by_field(put: Put) -> None:
    base, longer = put("etris"), put("etris", recipe={"name": "demo", "epochs": 9}, image_size=64)
    assert differing([base, longer]) == {"image_size": ["96", "64"], "recipe.epochs": ["2", "9"]}
    assert differing([base, put("snf", seed=4)]) == {}


def test_candidates_of_one_method_name_their_rates_and_options(store: Store, put: Put) -> None:
    for rate in (10.0, 60.0):
        put("snf", recipe={"name": "mine", "adapter_lr": rate, "own_rates": True})
    put("snf", recipe={"name": "mine", "adapter_lr": 10.0, "own_rates": True}, options={"snf.width": 64})
    with pytest.raises(UsageError, match="can mean 3 cells") as error:
        one(store.all(), "snf--")
    assert "recipe.adapter_lr 60.0" in str(error.value)
    assert "options.snf.width 64" in str(error.value)


def test_rates_are_compared_within_a_method_and_not_between_methods(store: Store, put: Put) -> None:
    first, second = [put("snf", recipe={"name": "mine", "lr": lr, "own_rates": True}) for lr in (1.0, 2.0)]
    assert differing([first, second]) == {"recipe.lr": ["1.0", "2.0"]}
    assert differing([first, put("etris", recipe={"name": "mine", "lr": 2.0, "own_rates": True})]) == {}
