"""Recipes: the paper's numbers, learning rates against torch's own schedulers, mistakes named by field."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.optim import SGD
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, MultiStepLR

from barbench.errors import UnknownName, UsageError
from barbench.spec.recipe import Recipe, load_recipe, parse_recipe, recipe_fields, recipe_names


def recipe(**fields: Any) -> Recipe:
    """A recipe of six epochs, with any field changed."""
    return parse_recipe("test", {"epochs": 6, "batch": 4, "lr": 0.01, **fields})


def test_the_papers_recipe() -> None:
    """Appendix A.2: Adam, 1e-4, 50 epochs, decay 0.1 at epoch 35, batch 32; threshold 0.35 of the released code."""
    paper = load_recipe("paper")
    assert (paper.optimizer, paper.lr, paper.epochs, paper.batch) == ("adam", 1e-4, 50, 32)
    assert (paper.schedule, paper.milestones, paper.decay, paper.threshold) == ("step", (35,), 0.1, 0.35)
    assert (paper.warmup, paper.clip, paper.weight_decay, paper.accumulate) == (0, None, 0, 1)
    steps = 42_278 // 32
    assert paper.rate(35 * steps - 1, steps) == 1e-4
    assert paper.rate(35 * steps, steps) == pytest.approx(1e-5)
    assert paper.rate(50 * steps - 1, steps) == pytest.approx(1e-5)


def test_shipped_recipes_load_and_describe_themselves() -> None:
    assert {"paper", "demo"} <= set(recipe_names())
    for name in recipe_names():
        assert load_recipe(name).name == name
        assert load_recipe(name).description


def torch_rates(scheduler: LRScheduler, count: int) -> list[float]:
    """The learning rate of each of `count` steps of torch's scheduler."""
    rates = []
    for _ in range(count):
        rates.append(scheduler.get_last_lr()[0])
        scheduler.optimizer.step()
        scheduler.step()
    return rates


def optimizer() -> SGD:
    """SGD with a learning rate of 0.01, for torch's schedulers."""
    return SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.01)


def test_step_schedule_against_torch() -> None:
    mine, steps = recipe(milestones=[2, 5], decay=0.3), 7
    expected = torch_rates(MultiStepLR(optimizer(), [2 * steps, 5 * steps], 0.3), 6 * steps)
    assert [mine.rate(s, steps) for s in range(6 * steps)] == pytest.approx(expected, rel=1e-9)


def test_cosine_schedule_against_torch() -> None:
    mine, steps = recipe(schedule="cosine"), 7
    expected = torch_rates(CosineAnnealingLR(optimizer(), 6 * steps), 6 * steps)
    assert [mine.rate(s, steps) for s in range(6 * steps)] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("schedule", ["step", "cosine"])
def test_warmup_rises_linearly_to_the_full_rate(schedule: str) -> None:
    mine, steps = recipe(schedule=schedule, warmup=0.25), 10  # 15 of 60 steps
    rates = [mine.rate(s, steps) for s in range(60)]
    assert rates[:15] == pytest.approx([0.01 * (s + 1) / 16 for s in range(15)])
    assert rates[15] == pytest.approx(0.01)
    assert all(r > 0 for r in rates)
    assert max(rates) == pytest.approx(0.01)
    if schedule == "cosine":
        assert rates[37] == pytest.approx(0.01 * (1 + math.cos(math.pi * 22 / 45)) / 2)


@pytest.mark.parametrize(
    ("change", "field", "value"),
    [
        ("epochs=3", "epochs", 3),
        ("epochs=010", "epochs", 10),
        ("epochs=020", "epochs", 20),
        ("milestones=[010, 08]", "milestones", (10, 8)),
        ("lr=1e-3", "lr", 1e-3),
        ("lr = 5E-4", "lr", 5e-4),
        ("clip=null", "clip", None),
        ("milestones=[1, 2]", "milestones", (1, 2)),
        ("schedule=cosine", "schedule", "cosine"),
    ],
)
def test_set_changes_a_field_and_marks_the_name(change: str, field: str, value: object) -> None:
    changed = load_recipe("paper", [change])
    assert getattr(changed, field) == value
    assert changed.name == "paper*"
    assert load_recipe("paper").name == "paper"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("epochs", r"--set epochs: write it as key=value"),
        ("epoch=3", r"unknown recipe field 'epoch'. Did you mean epochs"),
        ("epochs=0", r"epochs: .*greater than 0, not 0"),
        ("epochs=many", r"epochs: .*not 'many'"),
        ("epochs=1:30", r"epochs: .*not '1:30'"),
        ("lr=nan", r"lr: "),
        ("lr=.inf", r"lr: "),
        ("threshold=1.5", r"threshold: "),
        ("optimizer=sgd", r"optimizer: .*'adam' or 'adamw', not 'sgd'"),
    ],
)
def test_mistakes_name_the_field(change: str, says: str) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        load_recipe("demo", [change])
    assert caught.value.exit_code == 2


def test_a_field_that_is_changed_twice_is_refused() -> None:
    with pytest.raises(UsageError, match="--set epochs is given twice, as 2 and as 3"):
        load_recipe("demo", ["epochs=2", "epochs=3"])


def test_a_change_that_is_not_yaml_is_the_users_mistake() -> None:
    with pytest.raises(UsageError, match=r"--set milestones=\[1, 2: the value is not YAML"):
        load_recipe("demo", ["milestones=[1, 2"])


def test_all_mistakes_are_listed_at_once() -> None:
    with pytest.raises(UsageError) as caught:
        parse_recipe("mine", {"epochs": -1, "lr": "x", "colour": "red"})
    assert all(field in str(caught.value) for field in ("epochs", "lr", "colour", "batch", "'mine'"))


def test_unknown_recipe_gives_the_nearest() -> None:
    with pytest.raises(UnknownName, match=r"unknown recipe 'papr'. Did you mean paper"):
        load_recipe("papr")


def test_a_recipe_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "quick.yaml"
    file.write_text("epochs: 1\nbatch: 8\nlr: 1e-3\ndescription: 1e3 is text here\n")
    own = load_recipe(str(file), ["batch=4"])
    assert (own.name, own.epochs, own.batch, own.lr, own.description) == ("quick*", 1, 4, 1e-3, "1e3 is text here")


@pytest.mark.parametrize(
    ("text", "says"), [("a: [1", "is not YAML"), ("- 1\n", "holds no fields"), ("", "holds no fields")]
)
def test_a_file_that_is_no_recipe(text: str, says: str, tmp_path: Path) -> None:
    file = tmp_path / "bad.yml"
    file.write_text(text)
    with pytest.raises(UsageError, match=says):
        load_recipe(str(file))


def test_a_recipe_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        load_recipe(str(tmp_path / "none.yaml"))


MINIMAL = {"epochs": 6, "batch": 4, "lr": 0.01}


def test_rates_of_single_methods_replace_the_recipes() -> None:
    recipe = parse_recipe("r", {**MINIMAL, "adapter_lr": 0.5, "rates": {"full": {"adapter_lr": 0.1}}})
    assert (recipe.of("full").adapter_lr, recipe.of("full").lr) == (0.1, recipe.lr)
    assert recipe.of("snf").adapter_lr == 0.5
    assert "rates" not in recipe.of("full").fields(), "a cell holds its own method's rates alone"
    with pytest.raises(UsageError, match="rates"):
        parse_recipe("r", {**MINIMAL, "rates": {"full": {"speed": 1}}})


@pytest.mark.parametrize(
    ("space", "says"),
    [
        ({"lrr": [1e-4, 1e-3]}, "lrr is no learning rate; they are lr and adapter_lr"),
        ({"lr": [1e-3, 1e-4]}, "the range of lr is LOW, HIGH with 0 < LOW <= HIGH"),
        ({"lr": [0, 1e-4]}, "the range of lr is LOW, HIGH with 0 < LOW <= HIGH"),
    ],
)
def test_the_ranges_of_a_search_are_checked(space: dict[str, list[float]], says: str) -> None:
    tuning = {"trials": 2, "sampler": "sobol", "space": space, "held_out": 20, "split": "refcoco", "epochs": 1}
    with pytest.raises(UsageError, match=says):
        parse_recipe("r", {**MINIMAL, "tuning": tuning})


@pytest.mark.parametrize("change", ["lr=0.0003", "adapter_lr=22.3"])
def test_a_rate_on_the_command_line_is_every_methods(change: str) -> None:
    field, _, value = change.partition("=")
    recipe = load_recipe("demo", ["epochs=3", change])
    plain = load_recipe("demo")
    for method in ("barleria", "full", "lora"):
        found = recipe.of(method)
        assert getattr(found, field) == float(value)
        assert {found.lr, found.adapter_lr} & {plain.lr, plain.adapter_lr}
        assert found.budget == "the recipe's rates for every method; no search"
        assert "own_rates" not in found.fields()


def test_a_budget_is_that_of_the_methods_that_were_searched() -> None:
    demo = load_recipe("demo")
    searched, other, never = demo.of("etris"), demo.of("snf-hadamard"), load_recipe("paper").of("etris")
    assert searched.budget.startswith("10 trials per method")
    assert other.budget == "no search for this method; the recipe's rates"
    assert (other.lr, other.adapter_lr) == (demo.lr, demo.adapter_lr)
    assert never.budget == "the recipe's rates for every method; no search"
    assert "searched" not in searched.fields() | never.fields()
    assert other.fields()["searched"] is False


def test_fields_that_came_later_do_not_change_the_ids_of_older_records() -> None:
    fields = parse_recipe("r", MINIMAL).fields()
    assert fields.keys() == {
        *("name", "description", "epochs", "batch", "accumulate", "optimizer", "lr", "adapter_lr", "weight_decay"),
        *("schedule", "milestones", "decay", "warmup", "clip", "threshold", "eval_batch"),
    }


def test_every_field_that_a_person_sets_is_listed_with_what_it_takes_and_means() -> None:
    rows = {row["field"]: row for row in recipe_fields()}
    in_cells = {"own_rates", "searched"}
    assert rows.keys() == Recipe.model_fields.keys() - in_cells
    assert all(row["takes"] and row["meaning"] and row["default"] for row in rows.values())
    assert rows["epochs"]["takes"] == "whole number above 0"
    assert rows["warmup"]["takes"] == "number from 0 below 1"
    assert rows["schedule"]["takes"] == "step or cosine"
    assert rows["milestones"]["takes"] == "list of: whole number above 0"
    assert rows["clip"]["takes"] == "number above 0 or null"
    assert (rows["lr"]["default"], rows["weight_decay"]["default"]) == ("needed", "0.0")
