"""barbench compares parameter-efficient tuning methods for referring image segmentation.

On the command line, `barbench run --methods all --dataset refcoco+`. In Python:

    import barbench as bb
    data = bb.open_data("shapes", "refcoco+")
    model = bb.build_segmenter("barleria", backbone="tiny")
    bb.fit(model, data, recipe="demo", max_steps=10)
    print(bb.evaluate(model, data, "val").metrics)
    frame = bb.load_results("results")

Names are imported when they are first used, so that `import barbench` costs nothing. Where torch is not imported yet,
importing barbench sets GOMP_SPINCOUNT, unless the program has set that or another of OpenMP's waiting variables: with
GNU OpenMP's own default a training step takes many times as long as soon as another process wants one of the cores.
"""

import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from barbench.api import (
        build_segmenter,
        compare,
        compare_evaluations,
        evaluate,
        evaluate_cell,
        fit,
        load_cell,
        open_data,
        predict,
        run,
    )
    from barbench.methods.base import Component
    from barbench.methods.catalog import method
    from barbench.models.towers.load import load_backbone
    from barbench.results.frames import load as load_results

__version__: str

_ELSEWHERE = {
    "Component": "barbench.methods.base:Component",
    "load_backbone": "barbench.models.towers.load:load_backbone",
    "load_results": "barbench.results.frames:load",
    "method": "barbench.methods.catalog:method",
}
"""The names that are not in `barbench.api`."""

__all__ = [
    "Component",
    "build_segmenter",
    "compare",
    "compare_evaluations",
    "evaluate",
    "evaluate_cell",
    "fit",
    "load_backbone",
    "load_cell",
    "load_results",
    "method",
    "open_data",
    "predict",
    "run",
]

if "torch" not in sys.modules and not {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & os.environ.keys():
    os.environ["GOMP_SPINCOUNT"] = "20000"  # read once, when torch loads OpenMP; see benchmarks/execution/variables.py


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return import_module("importlib.metadata").version("barbench")
    if name not in __all__:
        raise AttributeError(f"module 'barbench' has no attribute {name!r}; it has {', '.join(__all__)}")
    module, _, attribute = _ELSEWHERE.get(name, f"barbench.api:{name}").partition(":")
    value = globals()[name] = getattr(import_module(module), attribute)
    return value


def __dir__() -> list[str]:
    return [*globals(), *__all__]
