"""Rules for costs: equal, or not slower."""

from barbench.regression.rules import Values, Verdict, number

SLOWER = 1.5
"""How much longer, against the reference operation, something may take."""


def exact(baseline: Values, measured: Values) -> dict[str, Verdict]:
    """Whole numbers that must be equal."""
    found = {}
    for name, value in measured.items():
        old = number(baseline[name])
        new = number(value)
        change = f"{new - old:+,.0f}"
        if old:
            change += f" ({(new - old) / old:+.2%})"
        found[name] = Verdict(old == new, f"{old:,.0f}", f"{new:,.0f}", change)
    return found


def not_slower(baseline: Values, measured: Values) -> dict[str, Verdict]:
    """Times as multiples of the reference operation's: at most SLOWER times the baseline's."""
    found = {}
    for name, value in measured.items():
        old = number(baseline[name])
        new = number(value)
        difference = f"{new / old:.2f} times as long, allowed {SLOWER:g}"
        found[name] = Verdict(new <= SLOWER * old, f"{old:.3g}", f"{new:.3g}", difference)
    return found
