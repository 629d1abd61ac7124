"""Nested mappings made flat."""

from collections import OrderedDict
from types import MappingProxyType

from barbench.plain import flatten


def test_keys_are_joined_and_the_order_stays() -> None:
    nested = {"z": 1, "a": {"c": [{"kept": 1}], "b": OrderedDict(d=None)}, "e": MappingProxyType({"f": ""})}
    assert list(flatten(nested).items()) == [("z", 1), ("a.c", [{"kept": 1}]), ("a.b.d", None), ("e.f", "")]


def test_an_empty_mapping_leaves_nothing() -> None:
    assert flatten({"a": {}, "b": {"c": {}}}) == {}
    assert flatten({"a": 0}, "x.") == {"x.a": 0}
