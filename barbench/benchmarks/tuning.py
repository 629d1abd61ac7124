"""Equal tuning: the same number of trials for every method, judged on held-out training images. `barbench tune`.

A trial is a cell like any other, with drawn learning rates and with a part of the training images held out. Its record
is kept in `tuning/` of the results folder, so that an interrupted search continues from there. No evaluation split is
used.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol

import yaml
from torch.quasirandom import SobolEngine

from barbench.benchmarks.job import Job
from barbench.errors import BarbenchError, UsageError
from barbench.methods.catalog import MethodSpec
from barbench.results.record import Record
from barbench.spec.recipe import Rates, Recipe, Tuning

SPACE: Mapping[str, tuple[float, float]] = {"lr": (5e-4, 5e-3), "adapter_lr": (0.03, 3.0)}
"""Lowest and highest value of each rate; values are drawn evenly on the logarithm."""

Values = dict[str, float]


class Sampler(Protocol):
    """Proposes values for a method's trials, and is given their scores."""

    def ask(self, method: str, trial: int) -> Values:
        """Values of one trial, counted from 0, of a method."""
        ...

    def tell(self, method: str, trial: int, score: float | None) -> None:
        """The score of a trial that was asked for; None if it failed."""


class SobolSampler:
    """A scrambled Sobol sequence: trials are spread evenly over the space, however many there are.

    Independent random draws leave holes (four of them left the upper half of a range to a single one). Trial k has the
    same values for every method, so that chance favours none, and further trials continue the sequence.

    Args:
        space: lowest and highest value by name.
        seed: of the scrambling.
    """

    def __init__(self, space: Mapping[str, tuple[float, float]], seed: int) -> None:
        self.space, self.seed = space, seed
        self.free = [name for name, (low, high) in space.items() if low < high]

    def ask(self, method: str, trial: int) -> Values:
        """The values of one trial.

        Args:
            method: without effect.
            trial: counted from 0.

        Returns:
            Name to value, three digits.
        """
        draws = dict.fromkeys(self.space, 0.0)
        if self.free:
            engine = SobolEngine(len(self.free), scramble=True, seed=self.seed)  # type: ignore[no-untyped-call]
            points = engine.draw(trial + 1)
            draws |= zip(self.free, points[trial].tolist(), strict=True)
        return {
            name: float(f"{math.exp(math.log(low) + draws[name] * (math.log(high) - math.log(low))):.3g}")
            for name, (low, high) in self.space.items()
        }

    def tell(self, method: str, trial: int, score: float | None) -> None:
        """Without effect: scores do not change the sequence."""


class OptunaSampler:
    """One study per method with Optuna's tree-structured Parzen estimator; needs the extra `tune`.

    Args:
        space: lowest and highest value by name.
        seed: of every study.

    Raises:
        UsageError: if Optuna is not installed.
    """

    def __init__(self, space: Mapping[str, tuple[float, float]], seed: int) -> None:
        try:
            self._optuna: Any = import_module("optuna")
        except ImportError:
            raise UsageError("--sampler optuna needs Optuna: pip install 'barbench[tune]'") from None
        self._optuna.logging.set_verbosity(self._optuna.logging.WARNING)
        self._space, self._seed = space, seed
        self._studies: dict[str, Any] = {}
        self._open: dict[tuple[str, int], Any] = {}

    def ask(self, method: str, trial: int) -> Values:
        """The values of the next trial.

        Args:
            method: whose study is asked.
            trial: a number to `tell` the score under.

        Returns:
            Name to value, three digits.
        """
        if method not in self._studies:
            sampler = self._optuna.samplers.TPESampler(seed=self._seed)
            self._studies[method] = self._optuna.create_study(direction="maximize", sampler=sampler)
        asked = self._open[method, trial] = self._studies[method].ask()
        return {
            name: float(f"{asked.suggest_float(name, low, high, log=True):.3g}")
            for name, (low, high) in self._space.items()
        }

    def tell(self, method: str, trial: int, score: float | None) -> None:
        """Report the score of a trial that was asked for.

        Args:
            method: as for `ask`.
            trial: as for `ask`.
            score: higher is better; None for a trial that failed.
        """
        state = self._optuna.trial.TrialState
        ended = {"state": state.FAIL} if score is None else {"values": score}
        self._studies[method].tell(self._open.pop((method, trial)), **ended)


SAMPLERS: Mapping[str, Callable[[Mapping[str, tuple[float, float]], int], Sampler]] = {
    "sobol": SobolSampler,
    "optuna": OptunaSampler,
}


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
    jobs: Callable[[MethodSpec, Recipe], Job],
    run: Callable[[Sequence[Job]], Sequence[Record]],
) -> list[Trial]:
    """Run every trial of every method.

    With a Sobol sequence all cells are known beforehand and run as one matrix; otherwise trial k of all methods runs
    before trial k + 1 of any.

    Args:
        methods: all get the same number of trials.
        recipe: what all trials share; its learning rates are replaced by the drawn ones.
        tuning: the budget.
        jobs: the cell of a method trained with a recipe.
        run: runs cells, or finds their records; returns the records in the cells' order.

    Returns:
        All trials, in the order of running.
    """
    sampler = SAMPLERS[tuning.sampler](tuning.space, tuning.seed)
    rounds = [range(tuning.trials)] if tuning.sampler == "sobol" else [range(k, k + 1) for k in range(tuning.trials)]
    found = []
    for numbers in rounds:
        asked = [(spec, k, sampler.ask(spec.name, k)) for k in numbers for spec in methods]
        records = run([jobs(spec, _with(recipe, values, tuning.epochs)) for spec, _, values in asked])
        for (spec, k, values), record in zip(asked, records, strict=True):
            score = _score(record)
            sampler.tell(spec.name, k, score)
            found.append(Trial(spec.name, k, values, score))
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
    return "\n".join([*head, *history]) + "\n" + yaml.safe_dump(fields, sort_keys=False, allow_unicode=True)


def _with(recipe: Recipe, values: Values, epochs: int) -> Recipe:
    return recipe.model_copy(update={**values, "rates": {}, "tuning": None, "epochs": epochs})


def _score(record: Record) -> float | None:
    if record.status != "done":
        return None
    return sum(split.scores.mean for split in record.splits.values()) / len(record.splits)
