"""What an option of a method may be: types with their range for signatures, and the one check against them. No torch.

A constructor's signature is the only place that says what its options are:

    @checked
    def __init__(self, rank: Size = 8, dropout: DropoutRate = 0.0, towers: Towers = BOTH) -> None:

The types are ordinary annotations with bounds of pydantic, so that a method of one's own may have others. A signature
is read from the source here, because the file of a component imports torch, and a mistake is answered before that. So
the annotations and defaults of a component in this folder use the names of this module, `Literal` and builtins alone.
"""

import ast
import inspect
import math
from collections.abc import Callable, Mapping
from functools import cache, wraps
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypeVar, get_type_hints

from pydantic import Field, PydanticUserError, TypeAdapter, ValidationError

from barbench.errors import UsageError
from barbench.models.names import BatchNorms as BatchNorms
from barbench.models.names import Branch, LinearRole, TowerName
from barbench.models.names import Connect as Connect
from barbench.models.names import PositionRule as PositionRule
from barbench.spec.text import listed
from barbench.values import shown

MOST = 1_000_000
"""More channels, tokens or blocks than any model has: what is larger is a slip."""

LEAST_NORMED = 2
"""A LayerNorm over one channel is constant: nothing in front of it would get a gradient."""

Size = Annotated[int, Field(ge=1, le=MOST)]
"""Channels, units, tokens, ranks, heads or blocks."""

NormedSize = Annotated[int, Field(ge=LEAST_NORMED, le=MOST)]
"""Channels that pass through a LayerNorm."""

Multiple4 = Annotated[int, Field(ge=4, le=MOST, multiple_of=4)]
Multiple16 = Annotated[int, Field(ge=16, le=MOST, multiple_of=16)]
Multiple16OrZero = Annotated[int, Field(ge=0, le=MOST, multiple_of=16)]
SizeOrZero = Annotated[int, Field(ge=0, le=MOST)]
"""As `Size`, where 0 leaves the thing out."""

FUSIONS = 4
"""Places at which the released side network adds vision features, one block each."""

Fusions = Annotated[int, Field(ge=FUSIONS, le=MOST)]
Reduction = Annotated[int, Field(ge=2, le=MOST)]
Numbers = Annotated[int, Field(ge=1, le=10**12)]
"""Numbers of a model, or samples."""

Share = Annotated[float, Field(gt=0, le=1)]
DropoutRate = Annotated[float, Field(ge=0, lt=1)]
Scale = Annotated[float, Field(gt=0, le=MOST)]
"""What a component's output is multiplied by: at 0 it would never be trained."""

Deviation = Annotated[float, Field(ge=0, le=MOST)]
Blocks = Annotated[tuple[Annotated[int, Field(ge=0, le=MOST)], ...], Field(min_length=1)]
"""Blocks of a tower, counted from 0."""

Towers = Annotated[tuple[TowerName, ...], Field(min_length=1)]
Branches = Annotated[tuple[Branch, ...], Field(min_length=1)]
LinearRoles = Annotated[tuple[LinearRole, ...], Field(min_length=1)]
Positions = Literal["frozen", "train"]
Activation = Literal["gelu", "relu", "silu"]

BOTH: tuple[TowerName, ...] = ("vision", "text")

REQUIRED: Any = inspect.Parameter.empty
"""The default of an option that has none."""

Init = TypeVar("Init", bound=Callable[..., None])


class Option(NamedTuple):
    """One option, as a signature and its docstring have it.

    Attributes:
        hint: its type, bounds included.
        default: its value where none is given; `REQUIRED`: there is none.
        meaning: its line under `Args:`; empty where there is none.
    """

    hint: Any
    default: Any
    meaning: str


class Domain(NamedTuple):
    """What an option may be, for people.

    Attributes:
        kind: `whole number`, `number`, `true or false`, `text`, `one of`, `list of`; empty for any value.
        range: bounds of a number; empty where there are none.
        choices: the words that it may be, or a list may have.
        none: whether it may be null.
    """

    kind: str
    range: str
    choices: tuple[str, ...]
    none: bool

    def __str__(self) -> str:
        words = self.kind
        if self.kind == "one of":
            words = listed(self.choices, "or")
        elif self.kind == "list of":
            words = f"one or more of {', '.join(self.choices)}"
        elif self.kind in ("whole number", "number"):
            words = f"a {self.kind} {self.range}".rstrip()
        return f"{words}, or null" if self.none and words else words


def checked(init: Init) -> Init:
    """Decorator of a constructor: each argument is checked against the signature's types."""

    @wraps(init)
    def construct(self: object, *values: Any, **named: Any) -> None:
        bound = inspect.signature(init).bind(self, *values, **named)
        given = {name: value for name, value in bound.arguments.items() if value is not self}
        init(self, **check_values(hints_of(init), given, owner=f"{type(self).__name__}'s "))

    return construct  # type: ignore[return-value]


def check_values(hints: Mapping[str, Any], values: Mapping[str, Any], owner: str) -> dict[str, Any]:
    """Values in the types that `hints` has for their names, see `check_value`; in messages `owner` is put in front of a
    name, as in `lora.`."""
    return {name: check_value(hints.get(name, Any), value, f"{owner}{name}") for name, value in values.items()}


def check_value(hint: Any, value: Any, name: str) -> Any:
    """A value in the type that is asked for.

    Other than for pydantic, `true` is no number and 1 is not `true`; what is not finite cannot be in a record.

    Args:
        hint: the type.
        value: as the user wrote it.
        name: in messages.

    Returns:
        The converted value.

    Raises:
        UsageError: for a value outside the type or its range; it says what would be right.
    """
    adapter = _adapter(hint)
    if adapter is None:
        return value
    schema = _schema(adapter)
    domain = domain_of(hint)
    # On a command line a list is written with pluses: lora.roles=q+v.
    if isinstance(value, str) and domain.kind == "list of":
        value = value.split("+")
    # Kinds first: pydantic would take true for 1.
    if _fits(schema, value):
        try:
            return adapter.validate_python(value)
        except ValidationError:
            pass
    raise UsageError(f"option {name} is {domain}, not {_shown(value)}")


def domain_of(hint: Any) -> Domain:
    """What values a type has."""
    adapter = _adapter(hint)
    schema: Mapping[str, Any] = {} if adapter is None else _schema(adapter)
    branches = _branches(schema)
    none = any(branch.get("type") == "null" for branch in branches)
    others = [branch for branch in branches if branch.get("type") != "null"]
    if len(others) != 1:
        kinds = [_kind(branch) for branch in others]
        return Domain(" or ".join(kind for kind in kinds if kind), "", (), none)
    branch = others[0]
    return Domain(_kind(branch), _range(branch), _choices(branch), none)


@cache
def component_options(target: str) -> dict[str, Option]:
    """The options of a component of this folder, `file:class`, by name, read from its source; where it has no
    constructor, those of the class it is based on."""
    file, _, name = target.partition(":")
    tree = ast.parse((Path(__file__).parent / f"{file}.py").read_text("utf-8"))
    found = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name)
    constructor = next((n for n in found.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"), None)
    if constructor is None:
        return _inherited(tree, found)
    meanings = _meanings(ast.get_docstring(found) or "")
    arguments = constructor.args.args[1:]
    # Every argument of a component has a default.
    options = {}
    for argument, default in zip(arguments, constructor.args.defaults, strict=True):
        assert argument.annotation is not None
        hint = _evaluated(argument.annotation)
        options[argument.arg] = Option(hint, _evaluated(default), meanings.get(argument.arg, ""))
    return options


def signature_options(build: Callable[..., Any]) -> dict[str, Option]:
    """The options of a function or a class that is imported already."""
    hints = hints_of(build)
    meanings = _meanings(inspect.getdoc(build) or "")
    options = {}
    for name, parameter in inspect.signature(build).parameters.items():
        # A class without a constructor of its own has that of `Module`, which takes anything.
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        options[name] = Option(hints.get(name, Any), parameter.default, meanings.get(name, ""))
    return options


def hints_of(build: Callable[..., Any]) -> dict[str, Any]:
    """The types of a function's parameters, or of a class's, bounds included."""
    return get_type_hints(build.__init__ if inspect.isclass(build) else build, include_extras=True)


def _inherited(tree: ast.Module, found: ast.ClassDef) -> dict[str, Option]:
    """The options of the class of this folder that another one is based on."""
    package = f"{__package__}."
    base = found.bases[0]
    assert isinstance(base, ast.Name)
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(package):
            names = [alias.name for alias in node.names]
            if base.id in names and base.id != "Component":
                return component_options(f"{(node.module or '').removeprefix(package)}:{base.id}")
    return {}


def _evaluated(expression: ast.expr) -> Any:
    """The value of an annotation or a default."""
    code = compile(ast.Expression(expression), "<signature>", "eval")
    return eval(code, dict(globals()))


def _meanings(docstring: str) -> dict[str, str]:
    """Name -> text under `Args:` of a docstring in Google's style."""
    meanings: dict[str, str] = {}
    _, _, rest = docstring.partition("Args:\n")
    name = ""
    # An entry begins at an indentation of four; what is deeper continues it.
    for line in rest.splitlines():
        text = line.strip()
        indent = len(line) - len(line.lstrip())
        if text and indent == 0:
            break  # the next section
        first, colon, meaning = text.partition(":")
        if indent == 4 and colon:
            name = first
            meanings[name] = meaning.strip()
        elif text and name:
            meanings[name] += f" {text}"
    return meanings


def _adapter(hint: Any) -> TypeAdapter[Any] | None:
    """What checks a type; None for a type that pydantic does not know, of which any value is right."""
    try:
        return TypeAdapter(hint)
    except PydanticUserError:
        return None


def _schema(adapter: TypeAdapter[Any]) -> Mapping[str, Any]:
    try:
        return adapter.json_schema()
    except PydanticUserError:
        return {}


def _branches(schema: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The alternatives of a type such as `int | None`."""
    return list(schema.get("anyOf", [schema]))


def _fits(schema: Mapping[str, Any], value: Any) -> bool:
    """Whether a value is of a kind that the type takes, where pydantic would convert it or a record cannot hold it."""
    types = {branch.get("type") for branch in _branches(schema)}
    if isinstance(value, float) and not math.isfinite(value):
        return False
    if types == {None}:
        return True
    if isinstance(value, bool):
        return "boolean" in types
    if isinstance(value, int | float) or value in ("0", "1"):
        return types != {"boolean"} and types != {"boolean", "null"}
    if isinstance(value, list | tuple):
        # What is in a list is of the kind that the list has.
        lists = [branch["items"] for branch in _branches(schema) if branch.get("type") == "array" and "items" in branch]
        for items in lists:
            if not all(_fits(items, each) for each in value):
                return False
        # A word twice would be another cell with the same result.
        words = all(isinstance(each, str) for each in value)
        return not words or len(set(value)) == len(value)
    return True


def _kind(branch: Mapping[str, Any]) -> str:
    if "enum" in branch or "const" in branch:
        return "one of"
    kinds = {
        "integer": "whole number",
        "number": "number",
        "boolean": "true or false",
        "string": "text",
        "array": "list of",
        "object": "a set of options, written as NAME.OPTION=VALUE",
    }
    return kinds.get(str(branch.get("type")), "")


def _choices(branch: Mapping[str, Any]) -> tuple[str, ...]:
    items = branch.get("items", branch)
    if "const" in items:
        return (str(items["const"]),)
    if "enum" in items:
        return tuple(map(str, items["enum"]))
    # A list of anything but words.
    return (f"{_kind(items)}s".strip(),) if items is not branch else ()


def _range(branch: Mapping[str, Any]) -> str:
    """Bounds as words: `from 0 to less than 1`, `above 0 and at most 1`."""
    words = []
    # A lowest value is `from … to …`, a bound that is outside is `above … and …`.
    if "minimum" in branch:
        words.append(f"from {_number(branch['minimum'])}")
        if "maximum" in branch:
            words.append(f"to {_number(branch['maximum'])}")
        elif "exclusiveMaximum" in branch:
            words.append(f"to less than {_number(branch['exclusiveMaximum'])}")
    else:
        if "exclusiveMinimum" in branch:
            words.append(f"above {_number(branch['exclusiveMinimum'])}")
        if "maximum" in branch:
            words.append(f"{'and ' if words else ''}at most {_number(branch['maximum'])}")
        elif "exclusiveMaximum" in branch:
            words.append(f"{'and ' if words else ''}less than {_number(branch['exclusiveMaximum'])}")
    if "multipleOf" in branch:
        words.append(f"that {_number(branch['multipleOf'])} divides")
    return " ".join(words)


def _number(value: float) -> str:
    return f"{int(value):,}" if value == int(value) else str(value)


def _shown(value: Any) -> str:
    """A value as a user wrote it: true and false as in YAML, short lists whole."""
    if isinstance(value, bool):
        return str(value).lower()
    if value is None:
        return "null"
    if isinstance(value, list | tuple) and all(isinstance(each, str | int | float) for each in value):
        return repr(list(value))[:80]
    return shown(value)
