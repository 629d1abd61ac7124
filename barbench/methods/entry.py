"""What a method of the catalogue is, and the decorator that enters one: its components, suites and options.

Options of a method are `component.parameter` pairs, `{"gst.prior": False}`, checked against the signature of the
component's constructor, without torch (`domains`); the options `positional="train"` and, on a ResNet,
`resnet.connect` and `resnet.batchnorm`, on a DINOv2 `dinov2.positions` and `dinov2.levels` exist for every method.
"""

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args

from barbench.errors import UsageError
from barbench.methods.domains import (
    Option,
    Positions,
    check_value,
    check_values,
    component_options,
    hints_of,
    signature_options,
)
from barbench.methods.scaling import Rules, follows_width, scaled_options
from barbench.registry import Registry
from barbench.spec.backbone import BackboneConfig, HeadChoice, NeckName
from barbench.spec.run import Proportion

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
    neck: NeckName | None = None
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

    def check_head(self, head: HeadChoice) -> None:
        """Refuse a head of another kind than the method needs.

        Args:
            head: that the user asks for.

        Raises:
            UsageError: if the method is bound to another neck, or needs a full head.
        """
        if self.neck is None:
            return
        if head.neck not in (None, self.neck) or head.form == "linear":
            raise UsageError(
                f"{self.name} is bound to a full head with the neck {self.neck}, not {head.words}; leave it out of "
                "--methods, or run it by itself"
            )

    def check(self, options: Options = NONE) -> None:
        """Refuse options by themselves, without torch; what goes together, `create` says.

        Args:
            options: `component.parameter` to value.

        Raises:
            UsageError: for options that it does not have, or values outside their type and range.
        """
        rest = {**self.options, **options}
        check_value(Positions, rest.pop("positional", "frozen"), f"{self.name}:positional")
        nested = _nested(rest)
        for name in EVERYWHERE:
            if name in nested:
                _check_part(name, nested.pop(name), self.name)
        self._check_own(nested)

    def _check_own(self, nested: Options) -> None:
        """Check options by the component that they are for; those of a composition by each part."""
        if self.parts:
            for each, own in self._shared_out(nested):
                each._check_own(own)
            return
        known = signature_options(self.build)
        _check_names(known, nested, self.name)
        for name, value in nested.items():
            check_value(known[name].hint, value, f"{self.name}.{name}")
            # In the catalogue a parameter is named like the component that it is for; in a method of the user's it is
            # whatever its function makes of it.
            if name in COMPONENTS and self.built_in:
                _check_part(name, value, self.name)

    def _shared_out(self, nested: Options) -> "list[tuple[MethodSpec, Options]]":
        """Each part of a composition with the options that it has."""
        known = [set(inspect.signature(each.build).parameters) for each in self.parts]
        _check_names(set[str]().union(*known), nested, self.name)
        shared: list[tuple[MethodSpec, Options]] = []
        for each, names in zip(self.parts, known, strict=True):
            shared.append((each, {name: nested[name] for name in nested.keys() & names}))
        return shared

    @property
    def built_in(self) -> bool:
        """Whether it is of the catalogue."""
        return self.build.__module__.rpartition(".")[0] == __package__

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
        positional = check_value(Positions, rest.pop("positional", "frozen"), f"{self.name}:positional")
        nested = _nested(rest)
        # The options that every method has are components of their own, around those of the method.
        components: list[Component] = []
        for name in EVERYWHERE:
            if name in nested:
                components.append(part(name, nested.pop(name)))
        components.extend(self._components(nested))
        if positional == "train":
            components.append(part("positional"))
        made: Method = _load("base:Method")(self.name, components)
        return made

    def create_for(self, backbone: str, options: Options = NONE, image_size: int | None = None) -> "Method":
        """Create the method for a backbone and attach it there, without weights.

        Args:
            backbone: what `load_backbone` accepts as a name.
            options: `component.parameter` to value.
            image_size: side in pixels; None: the backbone's default.

        Returns:
            The method, on the meta device.

        Raises:
            UnfitBackbone: if it cannot be used there, or tunes no parameter.
            UsageError: for options that it does not have, or that do not go together.
        """
        attached: Method = _load("build:attached")(self, backbone, options, image_size)
        return attached

    def _components(self, options: Options) -> Components:
        """The components; those of a composition are each part's, with the options that the part has."""
        if not self.parts:
            return tuple(make(self.build, options, self.name))
        components: list[Component] = []
        for each, own in self._shared_out(options):
            components.extend(each._components(own))
        return tuple(components)


METHODS: Registry[MethodSpec] = Registry("method")

EVERYWHERE = ("resnet", "dinov2")
"""Components whose options every method has, by the family of backbones that they are for."""

COMPONENTS = {"positional": "tune:Positional", "resnet": "tune:ResNetParts", "dinov2": "tune:DinoParts"}
"""Name in options -> file and class in this folder: those of every method, and those that `method` adds."""


def method(
    *,
    title: str,
    variant: str | None = None,
    kind: Kind = "own",
    neck: NeckName | None = None,
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
        # A method of the user's is found again by its module, in any process.
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
    specs: Sequence[MethodSpec],
    config: BackboneConfig,
    proportion: Proportion | None,
    options: Mapping[str, Options] = NONE,
) -> dict[str, dict[str, Any]]:
    """The options of each method, by its name: those that the user gave, and those that follow the backbone's width if
    they shall, see `follows_width`."""
    chosen = {spec.name: dict(options.get(spec.name, NONE)) for spec in specs}
    if follows_width(config, proportion):
        for spec in specs:
            chosen[spec.name] = spec.proportion(config, chosen[spec.name])
    return chosen


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
    _check_names(signature_options(build), options, owner)
    return build(**{**defaults, **check_values(hints_of(build), options, f"{owner}.")})


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
    settings = {key: option.default for key, option in component_options(COMPONENTS[name]).items()}
    settings.update(defaults)
    settings.update(options)
    component.settings = {f"{name}.{key}": value for key, value in settings.items()}
    return component


def options_of(spec: MethodSpec) -> dict[str, Option]:
    """The parameters of a method's own function that are no component's options, by name."""
    if spec.parts:
        found: dict[str, Option] = {}
        for each in spec.parts:
            found |= options_of(each)
        return found
    plain = {}
    for name, option in signature_options(spec.build).items():
        if option.default is not NONE:
            plain[name] = option
    return plain


def _check_part(name: str, options: Any, owner: str) -> None:
    """Refuse options that a component of COMPONENTS does not have, or values outside their type and range."""
    if not isinstance(options, Mapping):
        check_value(Options, options, f"{owner}.{name}")
    known = component_options(COMPONENTS[name])
    _check_names(known, options, name)
    check_values({key: option.hint for key, option in known.items()}, options, f"{name}.")


def _check_names(known: Iterable[str], options: Iterable[str], owner: str) -> None:
    """Refuse a name that is not known."""
    names = list(known)
    for name in options:
        if name not in names:
            choice = ", ".join(sorted(names)) or "none"
            raise UsageError(f"unknown option {owner}.{name}. Known: {choice}")


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
