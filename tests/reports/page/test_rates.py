"""The learning-rate curves: a drawing per method on equal axes, the best trial filled, a failed one crossed."""

from barbench.reports.page.rates import rate_curves
from barbench.spec.search import Trial

TRIALS = [
    Trial("snf", 0, {"lr": 1e-3, "adapter_lr": 10.0}, 0.25),
    Trial("snf", 1, {"lr": 1e-3, "adapter_lr": 1.0}, 0.4),
    Trial("snf", 2, {"lr": 1e-3, "adapter_lr": 100.0}, None),
    Trial("full", 0, {"lr": 1e-3, "adapter_lr": 10.0}, 0.1),
]


def test_every_method_has_a_curve_by_rising_rate_with_its_best_filled() -> None:
    snf, full = rate_curves(TRIALS).axes
    assert [snf.get_title(), full.get_title()] == ["snf", "full"]
    curve, crosses, best = (line.get_xydata().tolist() for line in snf.lines)
    assert curve == [[1e-3, 40.0], [1e-2, 25.0]]
    assert crosses == [[1e-1, 0.0]]
    assert best == [[1e-3, 40.0]]
    assert snf.get_ylim() == full.get_ylim()
    assert snf.get_xlim() == full.get_xlim()
