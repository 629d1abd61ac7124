"""What every room may use on plain values: `flatten` for nested mappings, and the type of a progress callback."""

from collections.abc import Callable, Mapping
from typing import Any

OnProgress = Callable[[int, int], None]
"""Called with how much is done and how much there is in total."""


def flatten(fields: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one mapping, with keys joined by dots; the order stays, empty mappings vanish.

    Args:
        fields: may hold mappings at any depth.
        prefix: put in front of every key.

    Returns:
        A new dict without mappings among its values.

    >>> flatten({"a": 1, "b": {"c": 2, "d": {"e": 3}}})
    {'a': 1, 'b.c': 2, 'b.d.e': 3}
    """
    flat: dict[str, Any] = {}
    for key, value in fields.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat
