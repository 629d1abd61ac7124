"""What a method of the catalogue is, and the decorator that enters one: its components, suites and options.

Options of a method are `component.parameter` pairs, `{"gst.prior": False}`, checked against the component's
constructor; the options `positional="train"` and, on a ResNet, `resnet.connect` and `resnet.batchnorm` exist for every
method.
"""

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter, ValidationError

from barbench.errors import UsageError
from barbench.methods.scaling import Rules, scaled_options
from barbench.registry import Registry
from barbench.spec.backbone import BackboneConfig
from barbench.spec.text import explain

if TYPE_CHECKING:  # names are looked up without torch, which is imported when a method is created
    from barbench.methods.base import Component, Method

    Components = tuple[Component, ...]
else:
    Components = tuple

Options = Mapping[str, Any]
Build = Callable[..., Components]
R = TypeVar("R")
NONE: Options = {}
Kind = Literal[
    "paper", "low-rank", "scaling", "adapter", "prompt", "selection", "fusion", "side network", "reference", "own"
]
KINDS: tuple[Kind, ...] = get_args(Kind)
"""What a method is, in the order in which `barbench list methods` groups them; `own`: registered by a user."""


@dataclass(frozen=True, slots=True)
class MethodSpec:
    """A method by name.

    Attributes:
        name: what `--methods` takes.
        title: its row in tables.
        build: returns the components, given their options.
        variant: how it departs from the paper, as a phrase; None for the paper's own.
        reference: what `resolve` takes to find it again, in any process.
        options: options that are set beforehand (a row of a suite).
        kind: what it is grouped under.
        parts: the methods that a composition, `snf+lora`, is made of, in the order in which their components apply.
        neck: the neck of the segmentation head that it needs; None: the backbone's.
        suites: names of the suites that have it as a row without options.
        rules: the options that shrink with the backbone.
    """

    name: str
    title: str
    build: Build
    variant: str | None = None
    reference: str = ""
    options: Options = field(default_factory=dict)
    kind: Kind = "own"
    parts: tuple["MethodSpec", ...] = ()
    neck: Literal["cris"] | None = None
    suites: tuple[str, ...] = ()
    rules: Rules = field(default_factory=dict)

    @property
    def base_name(self) -> str:
        """Its name without the options of a suite's row: `snf` of `snf[snf.length=4]`."""
        return self.name.partition("[")[0]

    @property
    def summary(self) -> str:
        """What the method is, in a sentence or two: the first paragraph of its function's docstring."""
        if self.parts:
            return " ".join(part.summary for part in self.parts)
        paragraph = (inspect.getdoc(self.build) or "").partition("\n\n")[0]
        return " ".join(paragraph.split())

    def proportion(self, config: BackboneConfig, options: Options = NONE) -> dict[str, Any]:
        """Its options in proportion to a narrow backbone, as `scaled_options` chooses them.

        Args:
            config: the backbone.
            options: those that the user gave, which stay as they are; so do those that a suite's row has.

        Returns:
            `options` and the scaled ones, for `create`.
        """
        rules = dict(self.rules)
        for part in self.parts:
            rules.update(part.rules)
        preset = {**self.options, **options}
        scaled = scaled_options(rules, config, preset)
        return {name: value for name, value in scaled.items() if name in options or name not in preset}

    def create(self, options: Options = NONE) -> "Method":
        """Create the method, not yet attached to a backbone.

        Args:
            options: `component.parameter` to value.

        Returns:
            The method.

        Raises:
            UsageError: for options that it does not have, or values of the wrong type.
        """
        rest = {**self.options, **options}
        positional = rest.pop("positional", "frozen")
        if positional not in ("frozen", "train"):
            raise UsageError(f"{self.name}: positional is 'frozen' or 'train', not {positional!r}")
        nested = _nested(rest)
        # The options that every method has are components of their own, around those of the method.
        components: list[Component] = []
        if "resnet" in nested:
            components.append(part("resnet", nested.pop("resnet")))
        components.extend(self._components(nested))
        if positional == "train":
            components.append(part("positional"))
        made: Method = _load("base:Method")(self.name, components)
        return made

    def _components(self, options: Options) -> Components:
        """The components; those of a composition are each part's, with the options that the part has."""
        if not self.parts:
            return tuple(make(self.build, options, self.name))
        known = [set(inspect.signature(each.build).parameters) for each in self.parts]
        every = set[str]().union(*known)
        for name in options:
            if name not in every:
                choice = ", ".join(sorted(every)) or "none"
                raise UsageError(f"unknown option {self.name}.{name}. Known: {choice}")
        components: list[Component] = []
        for each, names in zip(self.parts, known, strict=True):
            own = {name: options[name] for name in options.keys() & names}
            components.extend(each._components(own))
        return tuple(components)


METHODS: Registry[MethodSpec] = Registry("method")

COMPONENTS = {"positional": "tune:Positional", "resnet": "tune:ResNetParts"}
"""Name in options -> file and class in this folder: those of every method, and those that `method` adds."""


def method(
    *,
    title: str,
    variant: str | None = None,
    kind: Kind = "own",
    neck: Literal["cris"] | None = None,
    components: Mapping[str, str] | None = None,
    suites: Iterable[str] = (),
    rules: Rules | None = None,
) -> Callable[[Build], MethodSpec]:
    """Decorator that registers a function that returns components; its name, with dashes, is the method's.

    Args:
        title: the method's row in tables.
        variant: how it departs from the paper, as a phrase; None for the paper's own.
        kind: what it is grouped under.
        neck: the neck of the segmentation head that it needs; None: the backbone's.
        components: name in options -> `file:class` in barbench/methods, for `part`; None: entered with another method.
        suites: names of the suites that have it as a row without options.
        rules: `component.parameter` -> how it shrinks with a narrow backbone; None: nothing shrinks.

    Returns:
        The decorator. It replaces the function by a `MethodSpec`.
    """

    def register(build: Build) -> MethodSpec:
        name = build.__name__.replace("_", "-")
        home = build.__module__
        built_in = home.rpartition(".")[0] == __package__
        spec = MethodSpec(
            name=name,
            title=title,
            build=build,
            variant=variant,
            reference=name if built_in else f"{home}:{build.__name__}",
            kind=kind,
            neck=neck,
            suites=tuple(suites),
            rules=rules or {},
        )
        METHODS.register(name, spec)
        COMPONENTS.update(components or {})
        return spec

    return register


def in_proportion(
    specs: Sequence[MethodSpec], config: BackboneConfig, options: Mapping[str, Options]
) -> dict[str, dict[str, Any]]:
    """The options of each method, by its name, in proportion to a narrow backbone; those in `options` stay."""
    return {spec.name: spec.proportion(config, options.get(spec.name, NONE)) for spec in specs}


def make(build: Callable[..., R], options: Options, owner: str, **defaults: Any) -> R:
    """Call `build(**defaults | options)` after checking `options` against its signature.

    Args:
        build: a function or a class.
        options: parameter to value; values are converted to the annotated types.
        owner: named in messages, as in `owner.option`.
        **defaults: values for what `options` leaves out, not checked.

    Returns:
        What `build` returns.

    Raises:
        UsageError: for an option that `build` does not take, or a value of the wrong type.
    """
    known = list(inspect.signature(build).parameters)
    hints = get_type_hints(build.__init__ if inspect.isclass(build) else build)
    arguments = dict(defaults)
    for name, value in options.items():
        if name not in known:
            raise UsageError(f"unknown option {owner}.{name}. Known: {', '.join(known) or 'none'}")
        hint = hints.get(name, Any)
        # On a command line a list is written with pluses: lora.roles=q+v.
        if isinstance(value, str) and get_origin(hint) is tuple:
            value = value.split("+")
        try:
            arguments[name] = TypeAdapter(hint).validate_python(value)
        except ValidationError as error:
            raise UsageError(f"option {owner}.{name}: {explain(error)}") from None
    return build(**arguments)


def part(name: str, options: Options = NONE, **defaults: Any) -> "Component":
    """Create a component of COMPONENTS.

    Args:
        name: its name in COMPONENTS.
        options: parameter to value, checked.
        **defaults: values for what `options` leaves out.

    Returns:
        The component.

    Raises:
        UsageError: for an option that it does not have, or a value of the wrong type.
    """
    component_class = _load(COMPONENTS[name])
    component: Component = make(component_class, options, name, **defaults)
    settings = {key: parameter.default for key, parameter in inspect.signature(component_class).parameters.items()}
    settings.update(defaults)
    settings.update(options)
    component.settings = {f"{name}.{key}": value for key, value in settings.items()}
    return component


def _load(target: str) -> Any:
    """Import `file:class` of this folder."""
    module, _, name = target.partition(":")
    return getattr(import_module(f"{__package__}.{module}"), name)


def _nested(options: Options) -> dict[str, Any]:
    """{"gst.prior": x, "dim": y} -> {"gst": {"prior": x}, "dim": y}"""
    nested: dict[str, Any] = {}
    for name, value in options.items():
        head, dot, tail = name.partition(".")
        if dot:
            nested.setdefault(head, {})[tail] = value
        else:
            nested[name] = value
    return nested
