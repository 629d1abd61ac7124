"""The catalogue of methods: each is a function that returns components, under a decorator. See `barbench list methods`.

The paper's methods are below, those of the literature in `pet`.

Options of a method are `component.parameter` pairs, `{"gst.prior": False}`, checked against the component's
constructor; the options `positional="train"` and, on a ResNet, `resnet.connect` and `resnet.batchnorm` exist for every
method. A method from outside is one more decorated
function, found as `package.module:name` or through an entry point of group `barbench.methods`.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter, ValidationError

from barbench.errors import UsageError
from barbench.registry import Registry
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
        variant: how it departs from the paper, in words; None for the paper's own.
        reference: what `resolve` takes to find it again, in any process.
        options: options that are set beforehand (a row of a suite).
        kind: what it is grouped under.
        parts: the methods that a composition, `snf+lora`, is made of, in the order in which their components apply.
        neck: the neck of the segmentation head that it needs; None: the backbone's.
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

    @property
    def base_name(self) -> str:
        """Its name without the options of a suite's row: `snf` of `snf[snf.length=4]`."""
        return self.name.partition("[")[0]

    @property
    def summary(self) -> str:
        """What the method is, in a sentence or two: the first paragraph of its function's docstring."""
        if self.parts:
            return " ".join(part.summary for part in self.parts)
        return " ".join((inspect.getdoc(self.build) or "").partition("\n\n")[0].split())

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
        first = [part("resnet", nested.pop("resnet"))] if "resnet" in nested else []
        last = [part("positional")] if positional == "train" else []
        made: Method = _load("base:Method")(self.name, (*first, *self._components(nested), *last))
        return made

    def _components(self, options: Options) -> Components:
        """Of a composition: each part's, with those options that it has."""
        if not self.parts:
            return tuple(make(self.build, options, self.name))
        known = [set(inspect.signature(each.build).parameters) for each in self.parts]
        if strange := [name for name in options if not any(name in names for names in known)]:
            choice = ", ".join(sorted(set().union(*known))) or "none"
            raise UsageError(f"unknown option {self.name}.{strange[0]}. Known: {choice}")
        return tuple(
            component
            for each, names in zip(self.parts, known, strict=True)
            for component in each._components({name: value for name, value in options.items() if name in names})
        )


METHODS: Registry[MethodSpec] = Registry("method")

COMPONENTS = {
    "bridge": "bridge:Bridge",
    "snf": "snf:SNF",
    "lim": "lim:LIM",
    "gst": "gst:GST",
    "topdown": "topdown:TopDown",
    "full": "tune:Full",
    "positional": "tune:Positional",
    "resnet": "tune:ResNetParts",
    "lora": "lora:LoRA",
    "dora": "dora:DoRA",
    "ia3": "ia3:IA3",
    "ssf": "ssf:SSF",
    "adapter": "adapter:Adapter",
    "compacter": "compacter:Compacter",
    "repadapter": "repadapter:RepAdapter",
    "convpass": "convpass:ConvPass",
    "prompts": "prompts:Prompts",
    "maple": "maple:MaPLe",
    "select": "select:Select",
    "mask": "mask:Mask",
    "detris": "detris:Detris",
    "lst": "lst:LST",
}
"""The components that barbench ships: name in options -> file and class in this folder."""


def method(
    *, title: str, variant: str | None = None, kind: Kind = "own", neck: Literal["cris"] | None = None
) -> Callable[[Build], MethodSpec]:
    """Decorator that registers a function that returns components; its name, with dashes, is the method's.

    Args:
        title: the method's row in tables.
        variant: how it departs from the paper, in words; None for the paper's own.
        kind: what it is grouped under.
        neck: the neck of the segmentation head that it needs; None: the backbone's.

    Returns:
        The decorator. It replaces the function by a `MethodSpec`.
    """

    def register(build: Build) -> MethodSpec:
        name = build.__name__.replace("_", "-")
        home = build.__module__
        reference = name if home.rpartition(".")[0] == __package__ else f"{home}:{build.__name__}"
        return METHODS.register(name, MethodSpec(name, title, build, variant, reference, kind=kind, neck=neck))

    return register


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
    checked: dict[str, Any] = {}
    for name, value in options.items():
        if name not in known:
            raise UsageError(f"unknown option {owner}.{name}. Known: {', '.join(known) or 'none'}")
        hint = hints.get(name, Any)
        if isinstance(value, str) and get_origin(hint) is tuple:  # lora.roles=q+v
            value = value.split("+")
        try:
            checked[name] = TypeAdapter(hint).validate_python(value)
        except ValidationError as error:
            raise UsageError(f"option {owner}.{name}: {explain(error)}") from None
    return build(**{**defaults, **checked})


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
    kind = _load(COMPONENTS[name])
    component: Component = make(kind, options, name, **defaults)
    own = {key: p.default for key, p in inspect.signature(kind).parameters.items()}
    component.settings = {f"{name}.{key}": value for key, value in {**own, **defaults, **options}.items()}
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


@method(title="ETRIS", kind="paper")
def etris(bridge: Options = NONE) -> Components:
    """The bridge alone (ETRIS, Xu et al., ICCV 2023)."""
    return (part("bridge", bridge),)


@method(title="SNF", kind="paper")
def snf(snf: Options = NONE) -> Components:
    """Flows on the vision shortcuts alone (SNF, Wang et al., CVPR 2023)."""
    return (part("snf", snf, towers=("vision",)),)


@method(title="SNF+ETRIS", kind="paper")
def snf_etris(snf: Options = NONE, bridge: Options = NONE) -> Components:
    """Vision flows and the bridge."""
    return (part("snf", snf, towers=("vision",)), part("bridge", bridge))


@method(title="No Global", kind="paper")
def no_global(snf: Options = NONE, lim: Options = NONE) -> Components:
    """Flows in both towers and the local intertwined module: BarLeRIa without its global part."""
    return (part("snf", snf), part("lim", lim))


@method(title="BarLeRIa", kind="paper")
def barleria(snf: Options = NONE, lim: Options = NONE, gst: Options = NONE) -> Components:
    """The whole of BarLeRIa."""
    return (part("snf", snf), part("lim", lim), part("gst", gst))


@method(kind="paper", title="SNF (Hadamard)", variant="Eq. 1's other reading: every product elementwise, no affine map")
def snf_hadamard(snf: Options = NONE) -> Components:
    """Elementwise flows on the vision shortcuts."""
    return (part("snf", snf, towers=("vision",), flow="hadamard"),)


@method(
    kind="paper",
    title="No Global (Hadamard)",
    variant="Eq. 1's other reading: every product elementwise, no affine map",
)
def no_global_hadamard(snf: Options = NONE, lim: Options = NONE) -> Components:
    """Elementwise flows in both towers and the local intertwined module."""
    return (part("snf", snf, flow="hadamard"), part("lim", lim))


@method(
    kind="paper",
    title="No Global (released)",
    variant="as in the authors' code: words enter the vision tower once, at its input; nothing enters the text tower",
)
def no_global_released(snf: Options = NONE, lim: Options = NONE) -> Components:
    """Flows in both towers; words enter the vision tower at its input and stay there as tokens like the patches."""
    return (part("snf", snf), part("lim", lim, into=("vision",), every="input"))


@method(
    kind="paper",
    title="BarLeRIa (released)",
    variant="as in the authors' code: words enter once, a top-down side network runs twice with a reconstruction loss "
    "and no detach, and predictions depend on the batch (topdown.cosine=sample: they do not)",
)
def barleria_released(snf: Options = NONE, lim: Options = NONE, topdown: Options = NONE) -> Components:
    """The method that the public BarLeRIa code trains."""
    return (*no_global_released.build(snf, lim), part("topdown", topdown))


@method(title="Head only", kind="reference")
def head_only() -> Components:
    """Reference point: frozen encoders, the segmentation head alone."""
    return ()


@method(title="Full fine-tuning", kind="reference")
def full() -> Components:
    """Reference point: both encoders are trained in full."""
    return (part("full"),)


@method(title="CRIS", kind="reference", neck="cris")
def cris() -> Components:
    """Both encoders trained in full behind the neck of CRIS (Wang et al., CVPR 2022); recipe `cris` has its rates."""
    return (part("full"),)
