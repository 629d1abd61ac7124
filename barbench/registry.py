"""One small registry for everything that is chosen by name: methods, protocols, recipes."""

from collections.abc import Iterator
from typing import Generic, TypeVar

from barbench.errors import UnknownName

T = TypeVar("T")


class Registry(Generic[T]):
    """Names to values, in the order of registration; a name is registered once."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._values: dict[str, T] = {}

    def register(self, name: str, value: T) -> T:
        """Add a value and return it; ValueError if the name is taken."""
        if name in self._values:
            raise ValueError(f"{self.kind} {name!r} is registered twice")
        self._values[name] = value
        return value

    def get(self, name: str) -> T:
        """The value under a name; UnknownName, with the nearest names, if there is none."""
        if name not in self._values:
            raise UnknownName(self.kind, name, self._values)
        return self._values[name]

    def names(self) -> list[str]:
        """All names, in the order of registration."""
        return list(self._values)

    def __iter__(self) -> Iterator[T]:
        return iter(self._values.values())

    def __contains__(self, name: str) -> bool:
        return name in self._values
