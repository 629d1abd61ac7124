"""From what a user writes, `all`, `etris,barleria` or `package.module:name`, to methods."""

import importlib
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from importlib.metadata import EntryPoint, entry_points

from barbench.errors import UnknownName, UsageError
from barbench.methods.catalog import METHODS, MethodSpec
from barbench.paper.tables import FULL, HEAD_ONLY, PAPER_METHODS
from barbench.spec.text import split_list

GROUP = "barbench.methods"


def method_names() -> list[str]:
    """Built-in methods, then those of installed packages."""
    return [*METHODS.names(), *(name for name in _plugins() if name not in METHODS)]


def resolve(methods: str | Sequence[str]) -> list[MethodSpec]:
    """Find methods by a comma list of names.

    Names with a plus between them, `snf+lora`, are one method that has the components of each, in this order. Where
    two change the same value, the earlier one comes first: `lora+ssf` scales what LoRA made.

    Args:
        methods: a comma list, or its parts: names, `package.module:name`, `snf+lora`, `all` (the five of the paper
            between head-only and full) or `everything` (the whole registry and plugins).

    Returns:
        The methods in the order of the list, each once.

    Raises:
        UnknownName: for a name that no method has; the message gives the nearest names.
        UsageError: if the list is empty, or a module cannot be imported or does not hold a method.
    """
    found: dict[str, MethodSpec] = {}
    names = split_list(methods) if isinstance(methods, str) else methods
    for name in names:
        for spec in _group(name):
            found.setdefault(spec.name, spec)
    if not found:
        raise UsageError("no method was named; try --methods all")
    return list(found.values())


def check_rates(rates: Iterable[str], methods: Sequence[MethodSpec] = ()) -> None:
    """Refuse a name of a recipe's `rates` that is no method's.

    Args:
        rates: the names.
        methods: those of the run; a method of the user's own is known by its short name among them only.

    Raises:
        UnknownName: for a name that is neither a method, nor `package.module:name`, nor a composition of such.
    """
    known = {*method_names(), *(spec.base_name for spec in methods)}
    for name in rates:
        if name in known or ":" in name:
            continue
        for part in name.split("+"):
            if part.strip() not in known and ":" not in part:
                raise UnknownName("method in the recipe's rates", name, known)


def _group(name: str) -> Iterable[MethodSpec]:
    """The methods that a name stands for: several for `all` and `everything`."""
    if name == "all":
        return [METHODS.get(each) for each in (HEAD_ONLY, *PAPER_METHODS, FULL)]
    if name == "everything":
        return [_one(each) for each in method_names()]
    return [_one(name)]


def _one(name: str) -> MethodSpec:
    if "+" in name:
        return _composed([_one(part.strip()) for part in name.split("+")])
    if name in METHODS:
        return METHODS.get(name)
    plugins = _plugins()
    if ":" in name or name in plugins:
        return _external(name, plugins[name].value if name in plugins else name)
    raise UnknownName("method", name, method_names())


def _composed(parts: list[MethodSpec]) -> MethodSpec:
    """One method with the components of several; UsageError where they cannot be combined."""
    name = "+".join(part.name for part in parts)
    variants = [part.variant for part in parts if part.variant]
    necks = [part.neck for part in parts if part.neck]
    composed = MethodSpec(
        name=name,
        title=" + ".join(part.title for part in parts),
        build=tuple,
        variant="; ".join(variants) or None,
        reference="+".join(part.reference for part in parts),
        kind="own",
        parts=tuple(parts),
        neck=necks[0] if necks else None,
    )
    # Components that cannot be combined are refused when the method is created.
    composed.create()
    return composed


def _plugins() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}


def _external(reference: str, target: str) -> MethodSpec:
    """The decorated or plain function at `target` (`package.module:name`)."""
    home, _, name = target.partition(":")
    # A user's module in the working folder is found, too.
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        module = importlib.import_module(home)
    except Exception as error:  # a user's module may raise anything, and its author needs to see it
        raise UsageError(f"method {reference!r}: cannot import {home}: {type(error).__name__}: {error}") from error
    attribute = name.replace("-", "_")
    if not hasattr(module, attribute):
        known = [each for each, value in vars(module).items() if isinstance(value, MethodSpec)]
        raise UnknownName(f"method in {home}", name, known)
    value = getattr(module, attribute)
    if isinstance(value, MethodSpec):
        return replace(value, reference=reference)

    # A plain function becomes a method of its name.
    if not callable(value):
        raise UsageError(f"method {reference!r} is not a function that returns components")
    own = (reference.partition(":")[2] or reference).replace("_", "-")
    if own in METHODS:
        raise UsageError(f"method {reference!r}: the name {own!r} is taken by a built-in method")
    return MethodSpec(own, own, value, reference=reference)
