"""The search for rates: the same budget for all, judged on held-out images only, and gone on from where it stood."""

import math
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from barbench import cli
from barbench.benchmarks.job import Job
from barbench.benchmarks.tuning import best_rates, default_space, draw, recipe_text, require_answers, search
from barbench.errors import BarbenchError, Interrupted, UsageError
from barbench.methods.catalog import MethodSpec
from barbench.methods.resolve import resolve
from barbench.results.record import Record, Scores, SplitResult
from barbench.results.store import Store
from barbench.spec.recipe import Rates, Recipe, Tuning, load_recipe, parse_recipe
from barbench.spec.search import Trial
from tests.benchmarks.conftest import MakeJobs

DRAWS = [(0.00149, 0.459), (0.0019, 0.0356), (0.00446, 1.59), (0.00066, 0.1)]
SPACE = {"lr": (1e-4, 1e-2), "adapter_lr": (0.1, 10.0)}
MINIMAL = {"epochs": 4, "batch": 8, "lr": 1e-3}
BASE = parse_recipe("base", MINIMAL)
PEAK = {"etris": 1e-3, "snf": 5e-3}
"""The rate at which each method does best, in the made-up world of these tests."""


def budget(**changes: object) -> Tuning:
    fields = {"trials": 12, "sampler": "sobol", "space": SPACE, "held_out": 20, "split": "refcoco+", "epochs": 2}
    return Tuning.model_validate(fields | changes)


def score(method: str, recipe: dict[str, object]) -> float:
    rate = float(str(recipe["lr"]))
    return 0.5 / (1 + abs(rate - PEAK[method]) / PEAK[method])


@pytest.fixture
def world(make_jobs: MakeJobs, tmp_path: Path):
    """`jobs` and `run` for `search`, and the cells that were run."""
    [plain] = make_jobs(tmp_path)
    asked: list[Job] = []

    def jobs(spec: MethodSpec, recipe: Recipe) -> Job:
        cell = plain.cell.model_copy(update={"method": spec.name, "recipe": recipe.fields(), "held_out": 20})
        return plain.model_copy(update={"cell": cell})

    def run(cells: Sequence[Job]) -> list[Record]:
        asked.extend(cells)
        found = []
        for job in cells:
            good = score(job.cell.method, job.cell.recipe)
            scores = Scores(miou=good, oiou=good, p50=0, p60=0, p70=0, p80=0, p90=0, n=9)
            split = SplitResult(scores=scores, column="held out", images=3, references=4)
            found.append(
                Record(
                    id=job.cell.id(), cell=job.cell, title="x", composition=(), ledger={}, status="done",
                    splits={"held out refcoco+": split},
                )
            )  # fmt: skip
        return found

    return jobs, run, asked


def test_every_method_gets_the_same_number_of_trials_and_its_best_values(world) -> None:
    jobs, run, asked = world
    trials = search(resolve("etris,snf"), BASE, budget(), jobs, run)
    assert len(asked) == 24
    assert all(cell.cell.recipe["epochs"] == 2 for cell in asked)
    rates = best_rates(trials)
    for method in ("etris", "snf"):
        own = [t for t in trials if t.method == method]
        assert [t.number for t in own] == list(range(12))
        assert all(low <= t.values[name] <= high for t in own for name, (low, high) in SPACE.items())
        best = max(own, key=lambda t: t.score or 0)
        assert rates[method] == Rates(**best.values)
        assert best.values["lr"] == pytest.approx(PEAK[method], rel=0.7)


def test_draws_repeat_and_further_trials_continue_them() -> None:
    assert draw(SPACE, 3, 8)[:5] == draw(SPACE, 3, 5)
    assert draw(SPACE, 3, 6)[5] != draw(SPACE, 3, 6)[4]
    assert draw(SPACE, 4, 6) != draw(SPACE, 3, 6)


def test_draws_are_those_of_recipes_that_were_tuned_before() -> None:
    """Records of trials are found by their rates."""
    assert [tuple(values.values()) for values in draw({"lr": (5e-4, 5e-3), "adapter_lr": (0.03, 3.0)}, 0, 4)] == DRAWS


@pytest.mark.parametrize("trials", [4, 8, 16])
def test_trials_lie_evenly_over_the_logarithm_of_the_range(trials: int) -> None:
    """A power of two of trials has exactly one in each of as many equal parts, in every rate that is free."""
    space = {"lr": (1e-4, 1e-2), "adapter_lr": (0.1, 10.0), "fixed": (0.5, 0.5)}
    values = draw(space, 0, trials)
    assert {v["fixed"] for v in values} == {0.5}
    for name in ("lr", "adapter_lr"):
        low, high = space[name]
        parts = [int(trials * math.log(v[name] / low) / math.log(high / low)) for v in values]
        assert sorted(parts) == list(range(trials))


def test_a_method_without_a_finished_trial_is_named() -> None:
    trials = [Trial("etris", 0, {"lr": 1e-3}, 0.4), Trial("snf", 0, {"lr": 1e-3}, None)]
    with pytest.raises(BarbenchError, match="no trial of snf finished"):
        best_rates(trials)


def test_the_recipe_holds_rates_and_budget_and_names_its_history(tmp_path: Path) -> None:
    trials = [Trial("etris", 0, {"lr": 0.002, "adapter_lr": 0.5}, 0.412), Trial("etris", 1, {"lr": 0.1}, None)]
    path = tmp_path / "tuned.yaml"
    path.write_text(recipe_text(BASE, best_rates(trials), budget(trials=2), "tuned.csv"))
    recipe = load_recipe(str(path))
    assert (recipe.of("etris").lr, recipe.of("etris").adapter_lr) == (0.002, 0.5)
    assert (recipe.of("snf").lr, recipe.of("snf").adapter_lr) == (BASE.lr, BASE.adapter_lr)
    assert recipe.tuning == budget(trials=2)
    assert recipe.epochs == BASE.epochs
    text = path.read_text()
    assert "All trials: tuned.csv." in text
    assert yaml.safe_load(text)["rates"]["etris"] == {"lr": 0.002, "adapter_lr": 0.5}


def test_a_stopped_trial_ends_the_search_as_it_ends_a_run(world) -> None:
    jobs, run, asked = world
    with pytest.raises(Interrupted, match="1 cell stopped; run the same command to resume") as caught:
        search(resolve("etris,snf"), BASE, budget(), jobs, lambda cells: run(cells)[1:])
    assert caught.value.exit_code == 130
    assert len(asked) == 24


def test_trials_with_the_same_values_are_one_cell(world) -> None:
    """A range so narrow that three digits do not tell its values apart."""
    jobs, run, asked = world
    narrow = budget(space={"lr": (1e-3, 1.0001e-3), "adapter_lr": (1.0, 1.0)}, trials=3)
    trials = search(resolve("etris"), BASE, narrow, jobs, run)
    assert len(asked) == 1
    assert [trial.number for trial in trials] == [0, 1, 2]
    assert len({trial.score for trial in trials}) == 1


@pytest.mark.parametrize(
    ("status", "reason", "is_lost"),
    [
        ("failed", "the process was ended by signal 15: no output", True),
        ("out-of-memory", "the process was killed (signal 9), out of memory, at 1.00 GB", True),
        ("failed", "its job is gone (NODE_FAIL)", True),
        ("failed", "the loss is nan at step 3 (epoch 1), before the first checkpoint; references 1", False),
        ("failed", "the norm of the gradient is inf at step 3 (epoch 1)", False),
        ("failed", "20 steps in a row overflowed in fp16 (try --precision bf16)", False),
        ("failed", "the loss is not finite in the epoch in which the head alone is trained", False),
    ],
)
def test_a_lost_trial_makes_no_recipe_and_an_infinite_loss_is_an_answer(
    status: str, reason: str, is_lost: bool, world
) -> None:
    jobs, run, _ = world

    def run_one_failing(cells: Sequence[Job]) -> list[Record]:
        first, *rest = run(cells)
        failed = first.model_copy(update={"status": status, "reason": reason, "splits": {}})
        return [failed, *rest]

    trials = search(resolve("etris,snf"), BASE, budget(trials=2), jobs, run_one_failing)
    assert trials[0].score is None
    if is_lost:
        with pytest.raises(BarbenchError, match=r"1 trial lost, .* no equal budget; no recipe .*\n  etris, trial 0: "):
            require_answers(trials)
    else:
        require_answers(trials)
        assert set(best_rates(trials)) == {"etris", "snf"}


def test_ranges_are_those_of_the_recipes_own_search() -> None:
    demo = load_recipe("demo")
    assert demo.tuning is not None
    assert default_space(demo) == demo.tuning.space
    for rates in demo.rates.values():
        for name, (low, high) in default_space(demo).items():
            assert low <= getattr(rates, name) <= high, "its search can find what it found"
    low, high = default_space(BASE)["lr"]
    assert low < BASE.lr < high
    assert high / low == pytest.approx(10, rel=0.01)
    assert default_space(BASE)["adapter_lr"] == (0.1, 10.0)


def test_methods_that_are_not_searched_keep_their_rates_and_what_is_known_of_their_search(tmp_path: Path) -> None:
    trials = [Trial("snf", 0, {"lr": 0.002, "adapter_lr": 0.5}, 0.4)]
    first = parse_recipe("base", {**MINIMAL, "rates": {"lora": {"lr": 0.3}}})
    path = tmp_path / "tuned.yaml"

    def tuned(recipe: Recipe, method: str, **changes: object) -> Recipe:
        path.write_text(recipe_text(recipe, {method: best_rates(trials)["snf"]}, budget(**changes), "tuned.csv"))
        return load_recipe(str(path))

    once = tuned(first, "snf")
    assert once.rates["lora"].lr == 0.3
    assert once.of("lora").budget == "no search for this method; the recipe's rates"
    assert once.of("snf").budget == str(budget())
    same = tuned(once, "etris")
    assert same.of("snf").fields() == once.of("snf").fields(), "a search with the same budget is the same search"
    larger = tuned(once, "etris", trials=99)
    assert larger.of("etris").budget == str(budget(trials=99))
    assert larger.of("snf").fields() == once.of("snf").fields()
    assert larger.of("lora").lr == 0.3
    assert larger.of("lora").searched is False
    again = tuned(larger, "snf", trials=99)
    assert again.of("snf").budget == str(budget(trials=99))


def test_rates_of_a_method_of_ones_own_are_found_by_its_reference() -> None:
    recipe = parse_recipe("r", {**MINIMAL, "rates": {"m.y:own": {"lr": 0.5}, "own": {"lr": 0.1}}})
    assert recipe.of("own", "m.y:own").lr == 0.5
    assert recipe.of("own").lr == 0.1
    assert recipe.of("other", "m.y:other").lr == recipe.lr


def run_cli(*arguments: object) -> int:
    with pytest.raises(SystemExit) as end:
        cli.app([str(a) for a in arguments])
    return int(end.value.code or 0)


@pytest.mark.slow
def test_the_command_searches_and_goes_on_from_its_records(
    shapes_root: Path, backbone_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [
        *("tune", "--methods", "head-only,snf", "--trials", 2, "--epochs", 1, "--held-out", 50, "--data", shapes_root),
        *(
            "--backbone",
            backbone_folder,
            "--weights",
            "random",
            "--results",
            tmp_path / "r",
            "--out",
            tmp_path / "t.yaml",
            "--recipe",
            "demo-random-head",
        ),
    ]
    assert run_cli(*arguments) == 0
    store = Store(tmp_path / "r" / "tuning")
    records = store.all()
    assert len(records) == 4
    assert {record.cell.held_out for record in records} == {50}
    assert {name for record in records for name in record.splits} == {"held out refcoco+"}
    assert Store(tmp_path / "r").all() == [], "trials are no rows of a table"
    before = [store.path(record.cell).stat().st_mtime_ns for record in records]
    assert run_cli(*arguments) == 0
    assert [store.path(record.cell).stat().st_mtime_ns for record in records] == before
    assert "0 cells to run; 4 finished before, skipped" in capsys.readouterr().out
    tuned = load_recipe(str(tmp_path / "t.yaml")).rates
    for method in ("head-only", "snf"):
        tried = [record.cell.recipe["lr"] for record in records if record.cell.method == method]
        assert any(tuned[method].lr == pytest.approx(lr, rel=1e-2) for lr in tried)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--lr", "1e-3"], "--lr is LOW,HIGH"),
        (["--lr", "0,1"], "0 < LOW <= HIGH"),
        (["--adapter-lr", "3,1"], "0 < LOW <= HIGH"),
        (["--out", "tuned.json"], "name a .yaml file"),
        (["--out", "/dev/null/tuned.yaml"], "--out: cannot write to /dev/null: "),
        (["--lr", "1e-3,1e-3", "--adapter-lr", "1,1"], "10 trials of one value each: give a range"),
    ],
)
def test_mistakes(arguments: list[str], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        cli.app(["tune", *arguments], standalone_mode=False)
