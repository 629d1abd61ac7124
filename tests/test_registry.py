"""One registry: order kept, nothing overwritten, an unknown name answered with the nearest ones."""

import pytest

from barbench.errors import BarbenchError, DataError, MissingData, UnknownName, UsageError
from barbench.registry import Registry


@pytest.fixture
def fruit() -> Registry[int]:
    registry: Registry[int] = Registry("fruit")
    for number, name in enumerate(("pear", "apple", "apricot")):
        registry.register(name, number)
    return registry


def test_values_come_back_in_the_order_of_registration(fruit: Registry[int]) -> None:
    assert fruit.names() == ["pear", "apple", "apricot"]
    assert list(fruit) == [0, 1, 2]
    assert fruit.get("apple") == 1
    assert "pear" in fruit
    assert "plum" not in fruit


def test_register_returns_the_value_and_refuses_a_second_one(fruit: Registry[int]) -> None:
    assert fruit.register("fig", 7) == 7
    with pytest.raises(ValueError, match="fruit 'pear' is registered twice"):
        fruit.register("pear", 9)
    assert fruit.get("pear") == 0


def test_unknown_name_gives_the_nearest_first(fruit: Registry[int]) -> None:
    with pytest.raises(UnknownName, match=r"unknown fruit 'aple'. Did you mean apple") as caught:
        fruit.get("aple")
    assert caught.value.exit_code == 2


def test_unknown_name_far_from_all_lists_what_there_is(fruit: Registry[int]) -> None:
    with pytest.raises(UnknownName, match=r"Known: apple, apricot, pear\.$"):
        fruit.get("zzz")
    many = UnknownName("number", "?", [f"n{i:03}" for i in range(50)])
    assert str(many).endswith("n011, ….")


def test_exit_codes_tell_the_users_mistakes_from_bad_data() -> None:
    codes = {cls: cls.exit_code for cls in (BarbenchError, DataError, UsageError, MissingData, UnknownName)}
    assert list(codes.values()) == [1, 1, 2, 2, 2]
