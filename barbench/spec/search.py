"""What a search of learning rates has tried: a CSV beside its recipe, `demo.csv` beside `demo.yaml`."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Final

from barbench.errors import UsageError
from barbench.spec.recipe import RATES

Values = dict[str, float]
SUFFIX: Final = ".csv"
_COLUMNS: Final = ("method", "trial", *RATES, "score")


@dataclass(frozen=True)
class Trial:
    """One trial of one method.

    Attributes:
        number: counted from 0.
        values: of the learning rates.
        score: mean IoU on the held-out images, a fraction; None if the trial failed.
        lost: why it says nothing about its values (its process was killed, memory ran out); empty where it does. A loss
            that became infinite is an answer.
    """

    method: str
    number: int
    values: Values
    score: float | None
    lost: str = ""


def trials_text(trials: Sequence[Trial]) -> str:
    """All trials as CSV, by method and number: `method,trial,lr,adapter_lr,score`; an empty score is a training whose
    numbers became infinite."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for trial in sorted(trials, key=lambda trial: (trial.method, trial.number)):
        # As few digits as say the rate.
        values = [f"{trial.values[name]:g}" for name in RATES]
        score = "" if trial.score is None else f"{trial.score:.6f}"
        writer.writerow([trial.method, trial.number, *values, score])
    return text.getvalue()


def parse_trials(text: str, name: str) -> list[Trial]:
    """The trials of a CSV that `trials_text` wrote, in their order; the UsageError for anything else names the file."""
    trials = []
    try:
        for row in csv.DictReader(io.StringIO(text)):
            values = {rate: float(row[rate]) for rate in RATES}
            score = float(row["score"]) if row["score"] else None
            trials.append(Trial(row["method"], int(row["trial"]), values, score))
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"{name}: no list of trials with the columns {', '.join(_COLUMNS)}: {error}") from None
    return trials


def shipped_trials(recipe: str) -> list[Trial]:
    """The search of a recipe that ships with barbench; empty where it had none, and for any other recipe."""
    file = resources.files("barbench.spec") / "recipes" / f"{Path(recipe).name}{SUFFIX}"
    if not file.is_file():
        return []
    return parse_trials(file.read_text("utf-8"), file.name)
