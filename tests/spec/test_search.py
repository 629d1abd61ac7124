"""The list of trials beside a recipe: read as it was written, and the source of the shipped recipe's rates."""

import csv
import io

import pytest

from barbench.errors import UsageError
from barbench.spec.recipe import load_recipe, recipe_names
from barbench.spec.search import Trial, parse_trials, shipped_trials, trials_text

TRIALS = [
    Trial("etris", 0, {"lr": 0.002, "adapter_lr": 0.5}, 0.4125),
    Trial("etris", 1, {"lr": 0.1, "adapter_lr": 30.0}, None),
    Trial("snf", 0, {"lr": 0.002, "adapter_lr": 0.5}, 0.25),
]


def test_trials_are_read_as_they_were_written() -> None:
    text = trials_text(TRIALS[::-1])
    assert parse_trials(text, "tuned.csv") == TRIALS
    rows = list(csv.reader(io.StringIO(text)))
    assert rows[0] == ["method", "trial", "lr", "adapter_lr", "score"]
    assert rows[2] == ["etris", "1", "0.1", "30", ""]


@pytest.mark.parametrize("text", ["method,trial\nsnf,0\n", "method,trial,lr,adapter_lr,score\nsnf,first,1,1,0.1\n"])
def test_another_file_is_refused_by_name(text: str) -> None:
    with pytest.raises(UsageError, match=r"tuned\.csv: no list of trials with the columns method, trial, lr, .*"):
        parse_trials(text, "tuned.csv")


@pytest.mark.parametrize("name", [name for name in recipe_names() if load_recipe(name).tuning is not None])
def test_a_shipped_recipes_rates_are_the_best_of_its_trials(name: str) -> None:
    """Each method had the whole budget, with the same draws for all, inside the range that the recipe states."""
    recipe = load_recipe(name)
    assert recipe.tuning is not None
    trials = shipped_trials(name)
    methods = dict.fromkeys(trial.method for trial in trials)
    assert set(methods) == set(recipe.rates)
    draws = [trial.values for trial in trials if trial.method == next(iter(methods))]
    assert len(draws) == recipe.tuning.trials
    for method, rates in recipe.rates.items():
        own = [trial for trial in trials if trial.method == method]
        assert [trial.values for trial in own] == draws
        best = max(own, key=lambda trial: trial.score or 0.0)
        assert (rates.lr, rates.adapter_lr) == (best.values["lr"], best.values["adapter_lr"])
    for rate, (low, high) in recipe.tuning.space.items():
        assert all(low <= values[rate] <= high for values in draws)


def test_a_recipe_without_a_search_has_no_trials() -> None:
    assert shipped_trials("paper") == []
    assert shipped_trials("no-such-recipe") == []
