"""What users of such harnesses complain of, and where a complaint does not apply to a method.

`pytest tests/complaints -m "slow or not slow"` checks every method and prints a table: a row per method, a column per
complaint. A test says with `@pytest.mark.complaint(number)` which one it looks for.
"""

from collections.abc import Sequence
from typing import Any

import pytest

from barbench.methods.resolve import resolve

METHODS = {spec.name: spec for spec in resolve("everything")}
COMPLAINTS = {
    1: "a tuned tensor never moves",
    2: "two processes hang, or their gradients are not those of one",
    3: "tuned parameters or optimizer states in half precision",
    4: "numbers that are not finite in half precision",
    5: "memory grows in evaluation",
    6: "a process that waits for a slow one gives up",
    7: "activations below the lowest tuned place are kept",
    8: "padding changes values, or makes them NaN",
    9: "each loading process starts threads of its own",
    10: "operations without a fixed order on a GPU are not named",
}
_BATCH = "its predictions depend on the batch, as in the released code (topdown.cosine=sample: they do not)"
DOES_NOT_APPLY = {
    (2, "barleria-released"): _BATCH,
    (8, "barleria-released"): _BATCH,
}
"""(complaint, method) -> the reason. `judge` fails where the reason no longer holds."""


def each_method(*quick: str) -> pytest.MarkDecorator:
    """Parametrize over all methods, of which all but the `quick` ones are slow."""
    rows = [pytest.param(name, marks=() if name in quick else pytest.mark.slow) for name in METHODS]
    return pytest.mark.parametrize("name", rows)


def judge(complaint: int, name: str, found: Sequence[Any]) -> None:
    """Nothing was found that the complaint is about; where it does not apply, something was, as its reason says."""
    reason = DOES_NOT_APPLY.get((complaint, name))
    if reason is None:
        assert not found
    else:
        assert found, f"no exemption is needed any longer: {reason}"
