"""Equal tuning: the same number of trials for every method, judged on held-out training images. `barbench tune`.

A trial is a cell like any other, with drawn learning rates and with a part of the training images held out. Its record
is kept in `tuning/` of the results folder, so that an interrupted search continues from there. No evaluation split is
used.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch.quasirandom import SobolEngine

from barbench.benchmarks.job import Job
from barbench.errors import BarbenchError
from barbench.methods.catalog import MethodSpec
from barbench.results.record import Record
from barbench.spec.recipe import Rates, Recipe, Tuning
from barbench.values import write_yaml

Values = dict[str, float]


def draw(space: Mapping[str, tuple[float, float]], seed: int, trials: int) -> list[Values]:
    """Draw the values of every trial from a scrambled Sobol sequence, which spreads them evenly over the space.

    Independent random draws leave holes (four of them left the upper half of a range to a single one). Trial k has the
    same values for every method, so that chance favors none, and further trials continue the sequence.

    Args:
        space: lowest and highest value by name; values are spread evenly on the logarithm.
        seed: of the scrambling.
        trials: how many.

    Returns:
        Name to value, three digits, for each trial.
    """
    free = [name for name, (low, high) in space.items() if low < high]
    points = []
    if free:
        engine = SobolEngine(len(free), scramble=True, seed=seed)  # type: ignore[no-untyped-call]
        points = engine.draw(trials).tolist()
    drawn = []
    for trial in range(trials):
        shares = dict.fromkeys(space, 0.0)
        if free:
            shares.update(zip(free, points[trial], strict=True))
        values = {}
        for name, (low, high) in space.items():
            logarithm = math.log(low) + shares[name] * (math.log(high) - math.log(low))
            values[name] = float(f"{math.exp(logarithm):.3g}")
        drawn.append(values)
    return drawn


@dataclass(frozen=True)
class Trial:
    """One trial of one method.

    Attributes:
        method: its name.
        number: counted from 0.
        values: of the learning rates.
        score: mean IoU on the held-out images, a fraction; None if the trial failed.
    """

    method: str
    number: int
    values: Values
    score: float | None


def search(
    methods: Sequence[MethodSpec],
    recipe: Recipe,
    tuning: Tuning,
    trial_of: Callable[[MethodSpec, Recipe], Job],
    run: Callable[[Sequence[Job]], Sequence[Record]],
) -> list[Trial]:
    """Run every trial of every method as one matrix.

    Args:
        methods: all get the same number of trials.
        recipe: what all trials share; its learning rates are replaced by the drawn ones.
        tuning: the budget.
        trial_of: the cell of a method trained with a recipe.
        run: runs cells, or finds their records; returns the records in the cells' order.

    Returns:
        All trials, in the order of running.
    """
    drawn = draw(tuning.space, tuning.seed, tuning.trials)
    planned: list[tuple[MethodSpec, int]] = []
    jobs: list[Job] = []
    for number, values in enumerate(drawn):
        for spec in methods:
            planned.append((spec, number))
            jobs.append(trial_of(spec, _with(recipe, values, tuning.epochs)))
    records = run(jobs)
    found = []
    for (spec, number), record in zip(planned, records, strict=True):
        found.append(Trial(spec.name, number, drawn[number], _score(record)))
    return found


def best_rates(trials: Sequence[Trial]) -> dict[str, Rates]:
    """The values of each method's best trial.

    Args:
        trials: of all methods.

    Returns:
        Learning rates by method.

    Raises:
        BarbenchError: for a method none of whose trials finished.
    """
    chosen = {}
    for method in dict.fromkeys(trial.method for trial in trials):
        done = [t for t in trials if t.method == method and t.score is not None]
        if not done:
            raise BarbenchError(f"no trial of {method} finished; the records say why")
        chosen[method] = Rates(**max(done, key=lambda t: (t.score or 0.0, -t.number)).values)
    return chosen


def recipe_text(recipe: Recipe, rates: Mapping[str, Rates], tuning: Tuning, trials: Sequence[Trial]) -> str:
    """Write the outcome of a search as a recipe.

    Args:
        recipe: what all trials share.
        rates: the best of each method.
        tuning: the budget.
        trials: listed as comments.

    Returns:
        YAML.
    """
    fields = recipe.model_copy(update={"rates": dict(rates), "tuning": tuning}).model_dump(
        mode="json", exclude={"name"}, exclude_defaults=True
    )
    history = [
        f"#   {t.method:<12} {t.number:>3}  {'failed' if t.score is None else f'{100 * t.score:6.2f}'}  "
        + ", ".join(f"{name} {value:g}" for name, value in t.values.items())
        for t in sorted(trials, key=lambda t: (t.method, t.number))
    ]
    head = [f"# Rates found by `barbench tune`: {tuning}.", "# Method, trial, held-out mIoU in percent, values:"]
    return "\n".join([*head, *history]) + "\n" + write_yaml(fields)


def _with(recipe: Recipe, values: Values, epochs: int) -> Recipe:
    return recipe.model_copy(update={**values, "rates": {}, "tuning": None, "epochs": epochs})


def _score(record: Record) -> float | None:
    if record.status != "done":
        return None
    return sum(split.scores.mean for split in record.splits.values()) / len(record.splits)
