"""What every room may use on plain values: `flatten` for mappings, `batched` for lists, and a progress callback."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, TypeVar

T = TypeVar("T")

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


def batched(values: Iterable[T], size: int) -> Iterator[list[T]]:
    """Cut values into lists of `size`, the last may be shorter; `itertools.batched` exists from Python 3.12 on."""
    iterator = iter(values)
    while chunk := list(islice(iterator, size)):
        yield chunk
