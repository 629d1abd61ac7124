"""Equal tuning: the same number of trials for every method, judged on held-out training images. `barbench tune`.

A trial is a cell like any other, with drawn learning rates and with a part of the training images held out. Its record
is kept in `tuning/` of the results folder, so that an interrupted search continues from there. No evaluation split is
used.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from torch.quasirandom import SobolEngine

from barbench.benchmarks.job import Job
from barbench.errors import BarbenchError, Interrupted
from barbench.methods.catalog import MethodSpec
from barbench.results.record import Record
from barbench.spec.recipe import RATES, Rates, Recipe, Tuning
from barbench.spec.search import Trial, Values
from barbench.spec.text import plural
from barbench.values import write_yaml

TRIALS: Final = 8
_REACH: Final = {"lr": math.sqrt(10), "adapter_lr": 10.0}
"""How far a range goes from a recipe's own rate to both sides, where neither the recipe nor the user gives one."""
_DIVERGED: Final = re.compile(r"the loss is |the norm of the gradient is |\d+ steps in a row overflowed")
"""How the reason of a training begins whose numbers became infinite."""


def default_space(recipe: Recipe) -> dict[str, tuple[float, float]]:
    """The ranges of a recipe's own search; without one, those around its rates: one decade of lr, two of adapter_lr."""
    space = {}
    for name in RATES:
        rate = float(getattr(recipe, name))
        space[name] = (float(f"{rate / _REACH[name]:.3g}"), float(f"{rate * _REACH[name]:.3g}"))
    if recipe.tuning is not None:
        space |= recipe.tuning.space
    return space


def draw(space: Mapping[str, tuple[float, float]], seed: int, trials: int) -> list[Values]:
    """Draw the values of every trial from a scrambled Sobol sequence, which spreads them evenly over the space.

    Independent random draws leave holes (four of them left the upper half of a range to a single one). Trial k has the
    same values for every method, so that chance favors none, and further trials continue the sequence.

    Args:
        space: lowest and highest value by name; values are spread evenly on the logarithm.

    Returns:
        Name to value, three digits, for each trial.
    """
    # A field of one value needs no dimension of the sequence.
    free = [name for name, (low, high) in space.items() if low < high]
    points = []
    if free:
        engine = SobolEngine(len(free), scramble=True, seed=seed)  # type: ignore[no-untyped-call]
        points = engine.draw(trials).tolist()
    drawn = []
    for trial in range(trials):
        # From a share of each range, on the logarithm, to values of three digits.
        shares = dict.fromkeys(space, 0.0)
        if free:
            shares.update(zip(free, points[trial], strict=True))
        values = {}
        for name, (low, high) in space.items():
            logarithm = math.log(low) + shares[name] * (math.log(high) - math.log(low))
            values[name] = float(f"{math.exp(logarithm):.3g}")
        drawn.append(values)
    return drawn


def search(
    methods: Sequence[MethodSpec],
    recipe: Recipe,
    tuning: Tuning,
    trial_of: Callable[[MethodSpec, Recipe], Job],
    run: Callable[[Sequence[Job]], Sequence[Record]],
) -> list[Trial]:
    """Run every trial of every method as one matrix; Interrupted where trials were stopped.

    Args:
        recipe: what all trials share; its learning rates are replaced by the drawn ones.
        trial_of: the cell of a method trained with a recipe.
        run: runs cells, or finds their records; returns the records, without those of cells that were stopped.
    """
    # The cells of all trials.
    drawn = draw(tuning.space, tuning.seed, tuning.trials)
    planned: list[tuple[MethodSpec, int, str]] = []
    jobs: dict[str, Job] = {}  # trials with the same values are one cell
    for number, values in enumerate(drawn):
        for spec in methods:
            tried = recipe.model_copy(update={**values, "rates": {}, "tuning": None, "epochs": tuning.epochs})
            job = trial_of(spec, tried)
            planned.append((spec, number, job.cell.id()))
            jobs.setdefault(job.cell.id(), job)
    records = {record.id: record for record in run(list(jobs.values()))}
    stopped = len(jobs) - len(records)
    if stopped:
        raise Interrupted(f"{plural(stopped, 'cell')} stopped; run the same command to resume")
    # Their scores, in the order in which trials were planned.
    found = []
    for spec, number, cell in planned:
        record = records[cell]
        found.append(Trial(spec.name, number, drawn[number], _score(record), _why_lost(record)))
    return found


def require_answers(trials: Sequence[Trial]) -> None:
    """Raise BarbenchError where trials were lost: their methods had a smaller budget than the others."""
    lost = [trial for trial in trials if trial.lost]
    if not lost:
        return
    lines = [f"{trial.method}, trial {trial.number}: {trial.lost}" for trial in lost]
    raise BarbenchError(
        f"{plural(len(lost), 'trial')} lost, so that the methods have no equal budget; no recipe is written. The same "
        "command trains what was lost:\n  " + "\n  ".join(lines)
    )


def best_rates(trials: Sequence[Trial]) -> dict[str, Rates]:
    """The learning rates of each method's best trial; BarbenchError for a method none of whose trials finished."""
    chosen = {}
    for method in dict.fromkeys(trial.method for trial in trials):
        done = [trial for trial in trials if trial.method == method and trial.score is not None]
        if not done:
            raise BarbenchError(f"no trial of {method} finished; the records say why")
        # Of equal ones the first.
        best = max(done, key=lambda trial: (trial.score or 0.0, -trial.number))
        chosen[method] = Rates(lr=best.values.get("lr"), adapter_lr=best.values.get("adapter_lr"))
    return chosen


def recipe_text(recipe: Recipe, rates: Mapping[str, Rates], tuning: Tuning, history: str) -> str:
    """Write the outcome of a search as a recipe, in YAML; other methods keep their rates, and what is known of their
    search.

    Args:
        history: name of the file that lists the trials.
    """
    every = {name: _kept(own, recipe.tuning, tuning) for name, own in recipe.rates.items()}
    every |= rates
    changed = recipe.model_copy(update={"rates": every, "tuning": tuning})
    fields = changed.model_dump(mode="json", exclude={"name"}, exclude_defaults=True)
    comment = f"# Rates found by `barbench tune`: {tuning}. All trials: {history}."
    return f"{comment}\n{write_yaml(fields)}"


def _kept(own: Rates, before: Tuning | None, now: Tuning) -> Rates:
    """Rates of a method that was not searched now: a search that it had before, or none, is noted with them."""
    if own.tuning is not None or not own.searched:
        return own
    if before is None:
        return own.model_copy(update={"searched": False})
    return own if before == now else own.model_copy(update={"tuning": before})


def _score(record: Record) -> float | None:
    if record.status != "done":
        return None
    return sum(split.scores.mean for split in record.splits.values()) / len(record.splits)


def _why_lost(record: Record) -> str:
    reason = record.reason or record.status
    # A training whose numbers became infinite answers the question.
    if record.status == "done" or _DIVERGED.match(reason):
        return ""
    return reason
