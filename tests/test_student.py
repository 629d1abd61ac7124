"""Student's t against printed tables and distributions that have a closed form."""

import math
from statistics import NormalDist

import pytest

from barbench.student import student


@pytest.mark.parametrize(
    ("freedom", "t"),
    [(1, 12.7062), (2, 4.30265), (3, 3.18245), (4, 2.77645), (9, 2.26216), (10, 2.22814), (30, 2.04227), (59, 2.00100)],
)
def test_the_values_are_those_of_the_printed_tables(freedom: int, t: float) -> None:
    assert student(freedom) == pytest.approx(t, rel=1e-5)


def test_many_degrees_of_freedom_give_the_normal_distribution() -> None:
    assert student(1499) == pytest.approx(1.96155, abs=1e-4)
    for many in (100_000, 1e9):
        assert student(many) == pytest.approx(NormalDist().inv_cdf(0.975), rel=1e-4)


@pytest.mark.parametrize("confidence", [0.5, 0.8, 0.95, 0.99])
def test_one_and_two_degrees_of_freedom_have_a_formula(confidence: float) -> None:
    """Cauchy's distribution; for two, P(|T| < t) = t / sqrt(2 + t^2)."""
    assert student(1, confidence) == pytest.approx(math.tan(math.pi / 2 * confidence), rel=1e-5)
    assert student(2, confidence) == pytest.approx(math.sqrt(2 / (confidence**-2 - 1)), rel=1e-5)


def test_it_falls_with_freedom_and_grows_with_confidence() -> None:
    assert student(1) > student(1.5) > student(2)
    assert student(5, 0.5) < student(5, 0.9) < student(5, 0.99)
