"""Suites: lists of methods with options that answer one question together. `barbench run --suite ablations` runs one.

A row is an ordinary `MethodSpec` whose options are set and whose title says so: a matrix takes it like any method.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from barbench.methods import suites_pet
from barbench.methods.catalog import MethodSpec, Options
from barbench.methods.resolve import resolve
from barbench.registry import Registry

WIDTH = 768
"""Of ViT-B/16's vision tower: what knobs are given for."""


@dataclass(frozen=True, slots=True)
class Suite:
    """A list of methods with options, and the question that they answer.

    Attributes:
        question: in words.
        rows: (method, what its title adds, options) per row.
        scaled: options that are given for a width of 768 and scaled to the backbone's, in multiples of this step.
    """

    question: str
    rows: Sequence[tuple[str, str, Options]]
    scaled: Mapping[str, int] = field(default_factory=dict)

    def methods(self, width: int = WIDTH) -> list[MethodSpec]:
        """The rows as methods, named `barleria[gst.modules=2]`.

        Args:
            width: channels of the vision tower.

        Returns:
            The methods; rows that become the same on a narrow tower are there once.
        """
        rows: dict[str, MethodSpec] = {}
        for name, note, options in self.rows:
            spec = _with(resolve(name)[0], note, {o: self._scaled(o, value, width) for o, value in options.items()})
            rows.setdefault(spec.name, spec)
        return list(rows.values())

    def _scaled(self, option: str, value: object, width: int) -> object:
        step = self.scaled.get(option)
        if step is None or not isinstance(value, int) or width == WIDTH:
            return value
        return max(1, round(value * width / WIDTH / step)) * step


def _with(spec: MethodSpec, note: str, options: Options) -> MethodSpec:
    if not options:
        return spec
    text = ",".join(f"{option}={_short(value)}" for option, value in options.items())
    return replace(spec, name=f"{spec.name}[{text}]", title=f"{spec.title}, {note}", variant=note, options=options)


def _short(value: object) -> str:
    return "+".join(map(str, value)) if isinstance(value, list) else str(value).lower()


SUITES: Registry[Suite] = Registry("suite")
SUITES.register(
    "ablations",
    Suite(
        "what the parts of GST and LIM are worth that the paper does not take apart",
        [
            ("barleria", "", {}),
            ("barleria", "no global prior", {"gst.prior": False}),
            ("barleria", "features not detached", {"gst.detach": False}),
            ("barleria", "2 modules", {"gst.modules": 2}),
            ("barleria", "no queries", {"gst.queries": 0}),
            ("barleria", "64 queries", {"gst.queries": 64}),
            ("no-global", "", {}),
            ("no-global", "words into vision only", {"lim.into": ["vision"]}),
            ("no-global", "class token into text only", {"lim.into": ["text"]}),
            ("no-global", "exchange at the input only", {"lim.every": "input"}),
            ("no-global", "padding hidden", {"lim.padding": "mask"}),
        ],
    ),
)
SUITES.register(
    "readings",
    Suite(
        "what the readings of Eq. 1 and the departures of the released code change",
        [
            ("snf", "", {}),
            ("snf-hadamard", "", {}),
            ("no-global", "", {}),
            ("no-global-hadamard", "", {}),
            ("no-global-released", "", {}),
            ("etris", "", {}),
            ("etris", "released settings", {"bridge.dim": 64, "positional": "train"}),
            ("barleria", "", {}),
            ("barleria-released", "", {}),
            ("barleria-released", "no batch dependence", {"topdown.cosine": "sample"}),
            ("barleria-released", "no reconstruction loss", {"topdown.reconstruction": False}),
        ],
    ),
)
SUITES.register(
    "pet-default",
    Suite("how the field's methods compare, each at its original's ViT-B setting", suites_pet.DEFAULT),
)
SUITES.register(
    "pet-budget",
    Suite(
        "how they compare at the adapter counts of SNF, No Global, ETRIS and BarLeRIa, with knobs for the width",
        suites_pet.BUDGET,
        suites_pet.SCALED,
    ),
)
SUITES.register(
    "pet-where",
    Suite(
        "which maps, which branches and which tower are worth tuning, at equal budgets",
        suites_pet.WHERE,
        suites_pet.SCALED,
    ),
)
SUITES.register(
    "pet+fusion",
    Suite(
        "whether SNF matters in No Global: other methods of about its size in its place, beside LIM",
        suites_pet.FUSION,
        suites_pet.SCALED,
    ),
)
