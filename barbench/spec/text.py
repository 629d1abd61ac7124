"""How text of the command line is read, and how messages are worded: lists, pairs, options of methods, mistakes."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from pydantic import ValidationError

from barbench.errors import UsageError
from barbench.values import read_yaml, shown

ALL_METHODS = "all"


class Named(Protocol):
    """A method, as far as its options need it: the name in tables, and what the user wrote for a method's own file."""

    @property
    def name(self) -> str:
        """As `--option` has it."""

    @property
    def reference(self) -> str:
        """`package.module:name` of a method of the user's; else the name."""

    def check(self, options: Mapping[str, Any]) -> None:
        """Raise UsageError for an option that the method does not have, or a value outside its type and range."""


def split_list(text: str) -> list[str]:
    """Cut a comma list; empty parts are left out.

    >>> split_list("etris, barleria,")
    ['etris', 'barleria']
    """
    parts = [part.strip() for part in text.split(",")]
    return [part for part in parts if part]


def whole_numbers(text: str, option: str) -> list[int]:
    """Read a comma list of whole numbers; the UsageError for anything else names `option`."""
    try:
        return [int(part) for part in split_list(text)]
    except ValueError:
        raise UsageError(f"{option} is a comma list of whole numbers, not {text!r}") from None


def split_pair(text: str, option: str, example: str) -> tuple[str, str]:
    """Cut `key=value` at the first equals sign; the UsageError for text without one names `option` and `example`."""
    key, equals, value = text.partition("=")
    if not equals:
        raise UsageError(f"{option} {text}: write it as key=value, for example {example}")
    return key.strip(), value


def yaml_value(text: str, value: str, option: str) -> Any:
    """Read a value as YAML; the UsageError for what is not YAML names `option` and the whole `text` given to it."""
    try:
        return read_yaml(value)
    except ValueError:
        raise UsageError(f"{option} {text}: the value is not YAML") from None


def method_options(options: Sequence[str], methods: Sequence[Named]) -> dict[str, dict[str, Any]]:
    """Read `--option METHOD:component.parameter=value`, where `all` means each of `methods`; values are read as YAML.

    UsageError for an option that is not written so, whose method is not among `methods` or does not have it, or whose
    value is outside its range.

    Returns:
        Method name -> option -> value.
    """
    # A method of the user's is named by its module, too.
    names = [spec.name for spec in methods]
    known = {spec.reference or spec.name: spec.name for spec in methods}
    known |= {name: name for name in names}
    parsed: dict[str, dict[str, Any]] = {}
    given: dict[str, str] = {}
    for text in options:
        target, equals, value = text.partition("=")
        method, colon, parameter = target.rpartition(":")
        if not (equals and colon and method and parameter):
            raise UsageError(f"--option {text}: write it as METHOD:component.parameter=value")
        if method != ALL_METHODS and method not in known:
            raise UsageError(f"--option {text}: {method} is not among the methods; they are {', '.join(names)}")
        if target in given:
            raise UsageError(f"--option {target} is given twice, as {given[target]} and as {value}")
        given[target] = value
        # Values by method.
        chosen = names if method == ALL_METHODS else [known[method]]
        for name in chosen:
            parsed.setdefault(name, {})[parameter] = yaml_value(text, value, "--option")
    # Whether the methods have these options, and such values.
    for spec in methods:
        if spec.name in parsed:
            spec.check(parsed[spec.name])
    return parsed


def explain(error: ValidationError, whole: str = "", separator: str = "; ") -> str:
    """Say every mistake that pydantic found as `field: what is wrong, not value`; `whole` is what a mistake without a
    field is about, such as `the file`."""
    lines = []
    for mistake in error.errors():
        where = ".".join(str(part) for part in mistake["loc"]) or whole
        line = mistake["msg"].removeprefix("Value error, ")
        # The input of a missing field is all that surrounds it.
        if isinstance(mistake["input"], int | float | str) and mistake["type"] != "value_error":
            line += f", not {shown(mistake['input'])}"
        lines.append(f"{where}: {line}" if where else line)
    return separator.join(lines)


def plural(count: int, noun: str) -> str:
    """Count things.

    >>> plural(1, "cell"), plural(1200, "cell")
    ('1 cell', '1,200 cells')
    """
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def listed(names: Sequence[str], last: str = "and") -> str:
    """Write names as a list.

    >>> listed(["etris"]), listed(["fp32", "bf16", "fp16"], "or")
    ('etris', 'fp32, bf16 or fp16')
    """
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} {last} {names[-1]}"
