"""The section `scores`: mean IoU after a short training of each of the paper's methods.

On the embedded benchmark's pictures, from the shipped head, so that ninety steps show what a component adds: a head
that ignores the words, a component that is never trained, and a learning rate that is wrong by a factor of ten leave
the interval. A baseline holds one run per seed; a check runs only the first seed.
"""

from barbench.engine.evaluate import evaluate
from barbench.methods.catalog import MethodSpec
from barbench.progress import OnProgress
from barbench.regression.fixtures import (
    PAPER,
    SCORED,
    accelerator,
    evaluation,
    segmenter,
    shapes,
    train,
    training,
)
from barbench.regression.rules import Value, Values
from barbench.spec.recipe import Recipe

SEEDS = (0, 1, 2)
SHORT = Recipe(
    name="short",
    epochs=1,
    batch=8,
    optimizer="adamw",
    lr=1e-4,
    adapter_lr=100,
    schedule="cosine",
    warmup=0.1,
    clip=0.25,
    head="shipped",
)


def scores(progress: OnProgress) -> Values:
    """Mean IoU of the first seed, by method."""
    return _runs(SEEDS[:1], progress)


def scores_of_seeds(progress: OnProgress) -> Values:
    """Mean IoU of every seed, by method: what a baseline holds."""
    return _runs(SEEDS, progress)


def _runs(seeds: tuple[int, ...], progress: OnProgress) -> Values:
    found: dict[str, Value] = {}
    for number, spec in enumerate(PAPER):
        runs = []
        for seed in seeds:
            runs.append(_score(spec, seed))
            progress(number * len(seeds) + len(runs), len(PAPER) * len(seeds))
        found[spec.name] = runs
    return found


def _score(spec: MethodSpec, seed: int) -> float:
    # Data and model as for a cell of that seed.
    data = shapes(SCORED)
    model = segmenter(spec, seed)
    train(model, training(data, seed=seed), SHORT, seed)
    result = evaluate(model, evaluation(data), accelerator(), batch=32, threshold=SHORT.threshold)
    return result.metrics["miou"]
