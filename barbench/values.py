"""Reads values of files that anybody may have written: ids, sizes, numbers and text, with entry and key in the error.
`flatten` makes nested values flat.

Every value of a data file and of a backbone's configuration is read by one of these functions; a YAML file is read by
`read_yaml`. They raise ValueError; who reads the file makes it a DataError with the file's name.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import yaml

T = TypeVar("T")
_DUE: Any = object()
_WRITTEN = re.compile(r"\s*([+-]?\d+)(?:\.0*)?\s*")


def whole(value: Any) -> int:
    """Read an id or a length, an int within 64 bits; ValueError for anything else, booleans included.

    Read are an int, a float without fraction, and text of one: "7", "-1", and "3.0" as pandas writes a column with
    a gap.
    """
    if type(value) is int and -(2**63) < value < 2**63:  # nearly all of half a million
        return value
    # Spreadsheets and pandas write numbers as text.
    if isinstance(value, str) and len(value) < 24 and (written := _WRITTEN.fullmatch(value)):
        value = int(written[1])
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) >= 2**63:
        raise ValueError(f"{shown(value)} is not a whole number")
    return value


def text(value: Any) -> str:
    """Read a string, valid as UTF-8: each lone surrogate becomes a question mark. ValueError for anything else."""
    if not isinstance(value, str):
        raise ValueError(f"{shown(value)} is not text")
    return value if value.isascii() else value.encode("utf-8", "replace").decode()


def number(value: Any) -> float:
    """Read a coordinate or another measure from an int, a float or text of one, as a finite float; ValueError for
    anything else, booleans included."""
    try:
        found = float("nan" if isinstance(value, bool) else value)
    except (TypeError, ValueError, OverflowError):
        found = float("nan")
    if found != found or abs(found) == float("inf"):
        raise ValueError(f"{shown(value)} is not a number")
    return found


def shown(value: Any) -> str:
    """A value for a message: a scalar as written (at most 80 characters), of anything else only its type, since a
    nested value's text has no limit."""
    if value is None:
        return "null"
    return repr(value)[:80] if isinstance(value, int | float | str) else f"a {type(value).__name__}"


def read_entries(values: Any, kind: str, read: Callable[[dict[str, Any]], T]) -> list[T]:
    """Apply `read` to each entry of a list from a file; the ValueError for an entry that cannot be used says which one
    (counted from 0) of what `kind`, in the plural, and why."""
    made: list[T] = []
    for number, entry in enumerate(listed(values)):
        try:
            made.append(read(entry))
        except ValueError as error:
            raise ValueError(f"entry {number} of its {kind}: {error}") from error
    return made


def read_key(entry: Any, key: str, read: Callable[[Any], T], absent: T = _DUE) -> T:
    """Read one value of an entry of a file, which is a dict; all values of entries are read so.

    An entry without the key has the value `absent`. Where that is not given, and for a value that `read` refuses, the
    ValueError names the key.
    """
    if not isinstance(entry, dict):
        raise ValueError(f"{shown(entry)} is not an entry with the key {key!r}")
    if key not in entry:
        if absent is not _DUE:
            return absent
        raise ValueError(f"it lacks the key {key!r}")
    try:
        return read(entry[key])
    except ValueError as error:
        raise ValueError(f"{key!r}: {error}") from error


def listed(value: Any) -> list[Any]:
    """Read a list or a tuple as a list; ValueError for anything else."""
    if not isinstance(value, list | tuple):
        raise ValueError(f"{shown(value)} is not a list")
    return list(value)


_NUMBER_STARTS = list("-+.0123456789")
_INTEGER = ("tag:yaml.org,2002:int", re.compile(r"[-+]?[0-9]+$|0o[0-7]+$|0x[0-9a-fA-F]+$"))
_REAL = (
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$|[-+]?\.(inf|Inf|INF)$|\.(nan|NaN|NAN)$"),
)
_NUMBERS_OF_1_1 = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float", "tag:yaml.org,2002:timestamp")


class _Loader(yaml.SafeLoader):
    """YAML without duplicate keys, whose numbers are those of YAML 1.2: `010` is ten, `1e-4` a number, `1:30` text.

    In YAML 1.1 they are eight, text and ninety, and a date is no text.
    """

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        """Make a dict, as the parent; ValueError for a duplicate key, of which YAML would keep the last."""
        keys = [key.value for key, _ in node.value]
        if twice := [key for key in keys if isinstance(key, str) and keys.count(key) > 1 and key != "<<"]:
            raise ValueError(f"duplicate key {twice[0]!r}")
        return super().construct_mapping(node, deep)

    def construct_whole(self, node: Any) -> int:
        """Make an int: decimal, or with the mark of another base."""
        text = str(self.construct_scalar(node))
        has_mark = text.startswith(("0o", "0x"))
        return int(text, 0) if has_mark else int(text)

    def construct_float(self, node: Any) -> float:
        """Make a float."""
        text = str(self.construct_scalar(node)).lower()
        return float(text.replace(".inf", "inf").replace(".nan", "nan"))


class _Dumper(yaml.SafeDumper):
    """Quotes every text that `_Loader`, or a reader of YAML 1.1, would take for something else."""


# The loader has no number but YAML 1.2's.
_Loader.yaml_implicit_resolvers = {}
for _start, _resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items():
    kept = [(tag, pattern) for tag, pattern in _resolvers if tag not in _NUMBERS_OF_1_1]
    _Loader.yaml_implicit_resolvers[_start] = kept
for _tag, _pattern in (_INTEGER, _REAL):
    _Loader.add_implicit_resolver(_tag, _pattern, _NUMBER_STARTS)
    _Dumper.add_implicit_resolver(_tag, _pattern, _NUMBER_STARTS)
_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_whole)
_Loader.add_constructor("tag:yaml.org,2002:float", _Loader.construct_float)


def read_yaml(content: str) -> Any:
    """Read YAML that a person wrote, a file or one value, as plain values; ValueError if it is not YAML or has a
    duplicate key."""
    try:
        return yaml.load(content, _Loader)
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(f"it is not YAML: {error}") from error


def write_yaml(fields: Mapping[str, Any]) -> str:
    """Write plain values as YAML which `read_yaml` reads as the same values; keys keep their order."""
    return str(yaml.dump(dict(fields), Dumper=_Dumper, sort_keys=False, allow_unicode=True))


def flatten(fields: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one mapping, with keys joined by dots; the order stays, empty mappings vanish.

    >>> flatten({"a": 1, "b": {"c": 2, "d": {"e": 3}}})
    {'a': 1, 'b.c': 2, 'b.d.e': 3}
    """
    flat: dict[str, Any] = {}
    for name, value in fields.items():
        key = f"{prefix}{name}"
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{key}.")
        else:
            flat[key] = value
    return flat
