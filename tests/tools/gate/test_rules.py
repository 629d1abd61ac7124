"""The rules for costs: equal, not slower."""

from tools.gate.rules import exact, not_slower


def test_exact_knows_one_more_from_the_same() -> None:
    found = exact({"a": 100, "b": 100, "c": 0}, {"a": 100, "b": 101, "c": 2})
    assert [found[name].ok for name in "abc"] == [True, False, False]
    assert found["b"].difference == "+1 (+1.00%)"
    assert found["c"].difference == "+2"


def test_twice_as_long_is_too_long_and_faster_is_not_wrong() -> None:
    found = not_slower({"a": 1.0, "b": 2.0, "c": 3.0}, {"a": 2.0, "b": 2.8, "c": 0.5})
    assert [found[name].ok for name in "abc"] == [False, True, True]
