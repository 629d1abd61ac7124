"""Suites: lists of methods with options that answer one question together. `barbench run --suite ablations` runs one.

A row is an ordinary `MethodSpec` whose options are set and whose title says so: a matrix takes it like any method.

Budgets B1 to B4 are the adapter counts of SNF, No Global, ETRIS and BarLeRIa on ViT-B/16 (184,416, 390,656, 1,387,648,
2,205,920). Sizes are for its width of 768; the methods' own rules say which shrink and grow with a backbone's width.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from barbench.methods.catalog import METHODS, MethodSpec, Options
from barbench.methods.resolve import resolve
from barbench.methods.scaling import WIDTH, Width, scaled_width
from barbench.registry import Registry
from barbench.spec.backbone import NeckName

SuiteRow = tuple[str, str, Options]
"""Method, what the row's title adds, options. In the title, {lora.rank} stands for the value of that option."""

Rows = list[tuple[str, str, dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class Suite:
    """A list of methods with options, and the question that they answer.

    Attributes:
        question: a clause that begins with a question word.
        rows: (method, what its title adds, options) per row.
        scaled: whether sizes are given for a width of 768 and scaled to the backbone's.
        unaligned: method -> what stands in place of its rows where words and patches share no joint space.
        backbones: that the question is about; empty: it is asked on one.
        necks: that the question is about; empty: the backbone's own.
        shapes_recipe: the recipe on generated data. `demo` starts from the heads that ship with embedded backbones, and
            these fit their own neck alone.
    """

    question: str
    rows: Sequence[SuiteRow]
    scaled: bool = False
    unaligned: Mapping[str, SuiteRow] = field(default_factory=dict)
    backbones: tuple[str, ...] = ()
    necks: tuple[NeckName, ...] = ()
    shapes_recipe: str = "demo"

    def methods(self, width: int = WIDTH, aligned: bool = True) -> list[MethodSpec]:
        """The rows as methods, named `barleria[gst.modules=2]`, on a vision tower of `width` channels; rows that become
        the same on a narrow one are there once."""
        steps = _width_steps() if self.scaled and width != WIDTH else {}
        rows: dict[str, MethodSpec] = {}
        for asked in self.rows:
            name, note, options = asked if aligned else self.unaligned.get(asked[0], asked)
            row = dict(options)
            for option, step in steps.items():
                if isinstance(row.get(option), int):
                    row[option] = scaled_width(row[option], step, width)
            # A size that the title names is the one that is built.
            for option, value in row.items():
                note = note.replace(f"{{{option}}}", str(value))
            spec = _with_options(resolve(name)[0], note, row)
            rows.setdefault(spec.name, spec)
        return list(rows.values())


def _width_steps() -> dict[str, int]:
    """The options that follow the backbone's width, with the step of each, of all methods."""
    steps = {}
    for spec in METHODS:
        for option, rule in spec.rules.items():
            if isinstance(rule, Width):
                steps[option] = rule.step
    return steps


def _with_options(spec: MethodSpec, note: str, options: Options) -> MethodSpec:
    if not options:
        return spec
    text = ",".join(f"{option}={_short(value)}" for option, value in options.items())
    return replace(spec, name=f"{spec.name}[{text}]", title=f"{spec.title}, {note}", variant=note, options=options)


def _short(value: object) -> str:
    """An option's value in a row's name: a list with pluses, all else in lower case."""
    if isinstance(value, list):
        return "+".join(map(str, value))
    return str(value).lower()


SUITES: Registry[Suite] = Registry("suite")

SHARES = (0.001229530, 0.002604561, 0.009251645, 0.014707178)
"""B1 to B4 as shares of the encoders of ViT-B/16."""

VISION = ["vision"]
BOTH = ["vision", "text"]
ATTENTION = ["q", "k", "v", "out"]
EVERY_MAP = [*ATTENTION, "up", "gate", "down"]
NARROW: list[dict[str, Any]] = [
    {"adapter.width": 9, "adapter.towers": VISION},
    {"adapter.width": 12},
    {"adapter.width": 45},
    {"adapter.width": 71},
]
"""Bottlenecks on one branch of each block at B1 to B4."""


def _curve(method: str, *points: dict[str, Any], note: str = "", **fixed: Any) -> Rows:
    """One method at B1, B2, ...; an empty note names the budget alone. `fixed` has a double underscore for a point."""
    shared = {name.replace("__", "."): value for name, value in fixed.items()}
    rows: Rows = []
    for budget, point in enumerate(points, 1):
        label = f"{note}, B{budget}" if note else f"B{budget}"
        rows.append((method, label, shared | point))
    return rows


def _points(option: str, *values: float) -> list[dict[str, Any]]:
    """One option at several values."""
    return [{option: value} for value in values]


def _register(name: str, question: str, rows: Rows, **settings: Any) -> None:
    SUITES.register(name, Suite(question, rows, **settings))


_register(
    "ablations",
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
)
_register(
    "readings",
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
)
_register(
    "pet-default",
    "how the field's methods compare, each at its original's ViT-B setting",
    [(spec.name, "", {}) for spec in METHODS if "pet-default" in spec.suites],
)
_register(
    "pet-budget",
    "how they compare at the adapter counts of SNF, No Global, ETRIS and BarLeRIa, with knobs for the width",
    [
        ("head-only", "", {}),
        *_curve(
            "lora",
            {"lora.rank": 5, "lora.towers": VISION},
            {"lora.rank": 6, "lora.text_rank": 7},
            {"lora.rank": 23},
            {"lora.rank": 36},
        ),
        *_curve(
            "lora",
            {"lora.rank": 1, "lora.towers": VISION},
            {"lora.rank": 2, "lora.text_rank": 1},
            {"lora.rank": 5},
            {"lora.rank": 8},
            note="all maps",
            lora__roles=EVERY_MAP,
        ),
        *_curve(
            "dora", {"dora.rank": 4, "dora.towers": VISION}, {"dora.rank": 6}, {"dora.rank": 22}, {"dora.rank": 35}
        ),
        *_curve(
            "houlsby",
            {"adapter.width": 4, "adapter.towers": VISION},
            {"adapter.width": 6},
            {"adapter.width": 22},
            {"adapter.width": 35},
        ),
        *_curve("pfeiffer", *NARROW, adapter__dropout=0.0),
        *_curve("adaptformer", *NARROW, adapter__dropout=0.0),
        *_curve("convpass", *_points("convpass.width", 4, 10, 31, 47), convpass__dropout=0.0),
        *_curve(
            "repadapter",
            {"repadapter.width": 6, "repadapter.towers": VISION},
            {"repadapter.width": 8},
            {"repadapter.width": 30},
            {"repadapter.width": 48},
            repadapter__dropout=0.0,
        ),
        *_curve(
            "compacter",
            {"compacter.width": 96, "compacter.rank": 4, "compacter.towers": VISION},
            {"compacter.width": 96, "compacter.rank": 5},
            {"compacter.width": 104, "compacter.text_width": 64, "compacter.rank": None},
            {"compacter.width": 168, "compacter.text_width": 104, "compacter.rank": None},
        ),
        *_curve(
            "deep-prompts",
            {"prompts.count": 20, "prompts.towers": VISION},
            {"prompts.count": 25, "prompts.towers": BOTH},
            {"prompts.count": 90, "prompts.towers": BOTH},
            {"prompts.count": 144, "prompts.towers": BOTH},
            prompts__depth=None,
        ),
        ("maple", "one coupling, B2", {"maple.shared": True}),
        ("maple", "B3", {"maple.depth": 4}),
        ("maple", "B4", {"maple.depth": 6}),
        *_curve(
            "detris",
            {"detris.channels": 16, "detris.text_channels": 16, "detris.embed": 8, "detris.blocks": 4},
            {"detris.channels": 16, "detris.text_channels": 16, "detris.embed": 32},
            {"detris.channels": 64, "detris.text_channels": 64, "detris.embed": 64},
            {"detris.channels": 96, "detris.text_channels": 48, "detris.embed": 128},
            detris__dropout=0.0,
        ),
        *_curve(
            "lst",
            {"lst.reduction": 32, "lst.rungs": 4},
            {"lst.reduction": 32},
            {"lst.reduction": 12},
            {"lst.rungs": 10},
            lst__towers=VISION,
        ),
        *_curve("etris", *_points("bridge.dim", 24, 40, 128, 184)),
        *_curve(
            "snf",
            {"snf.length": 4, "snf.towers": VISION},
            {"snf.length": 5, "snf.towers": BOTH},
            {"snf.length": 22, "snf.towers": BOTH},
            {"snf.length": 35, "snf.towers": BOTH},
        ),
        *_curve("fish", *_points("mask.share", *SHARES)),
        *_curve("random-mask", *_points("mask.share", *SHARES)),
        ("layernorm", "", {}),
        ("ia3", "", {}),
        ("bitfit", "", {}),
        ("layernorm-bias", "", {}),
        ("ssf", "", {}),
        ("ssf", "vision", {"ssf.towers": VISION}),
        ("no-global", "", {}),
        ("barleria", "", {}),
        ("full", "", {}),
    ],
    scaled=True,
)
_register(
    "pet-where",
    "which maps, which branches and which tower are worth tuning, at equal budgets",
    [
        ("lora", "q and v, B3", {"lora.rank": 23}),
        ("lora", "attention, B3", {"lora.rank": 11, "lora.roles": ATTENTION}),
        ("lora", "all maps, B3", {"lora.rank": 5, "lora.roles": EVERY_MAP}),
        ("houlsby", "B3", {"adapter.width": 22}),
        ("houlsby", "with norms, B3", {"adapter.width": 22, "adapter.norms": True}),
        ("pfeiffer", "B3", {"adapter.width": 45}),
        ("pfeiffer", "with norms, B3", {"adapter.width": 45, "adapter.norms": True}),
        ("adaptformer", "B3", {"adapter.width": 45, "adapter.dropout": 0.0}),
        ("lora", "vision, B2", {"lora.rank": 11, "lora.towers": VISION}),
        ("lora", "text, B2", {"lora.rank": 16, "lora.towers": ["text"]}),
        ("lora", "both towers, B2", {"lora.rank": 6, "lora.text_rank": 7}),
    ],
    scaled=True,
)
_register(
    "pet+fusion",
    "whether SNF matters in No Global: other methods of about its size in its place, beside LIM",
    [
        ("no-global", "", {}),
        ("lora+lim", "", {"lora.rank": 5}),
        ("adaptformer+lim", "", {"adapter.width": 10, "adapter.dropout": 0.0}),
        ("ssf+lim", "", {}),
        ("deep-prompts+lim", "", {"prompts.count": 20, "prompts.depth": None}),
    ],
    scaled=True,
)
_register(
    "budget-b4",
    "how methods compare at BarLeRIa's budget where backbone and neck are the same for all",
    [
        ("head-only", "", {}),
        ("lora-all", "", {}),
        ("lora", "q and v, r {lora.rank}", {"lora.rank": 36}),
        ("houlsby", "m {adapter.width}", {"adapter.width": 35}),
        ("adaptformer", "m {adapter.width}", {"adapter.width": 71, "adapter.dropout": 0.0}),
        (
            "detris",
            "widths {detris.channels}, {detris.text_channels}, {detris.embed}",
            {
                "detris.channels": 96,
                "detris.text_channels": 48,
                "detris.embed": 128,
                "detris.dropout": 0.0,
            },
        ),
        ("two-way-prompts", "", {}),
        ("cola", "r {cola.rank}", {"cola.rank": 2, "cola.reduction": 56, "cola.exchange": "uniform"}),
        ("etris", "dim {bridge.dim}", {"bridge.dim": 184}),
        ("barleria", "", {}),
        ("full", "", {}),
    ],
    scaled=True,
    unaligned={"barleria": ("barleria", "prior in the side network's space", {"gst.space": "side"})},
    backbones=("ViT-B-16-quickgelu", "dinov2-b"),
    necks=("etris", "none"),
    shapes_recipe="demo-random-head",
)

_DETRIS_TEXT = [1, 3, 5, 7, 9, 11]
_DETRIS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "detris-b": ("B", "dinov2-b", {"dinov2.levels": [4, 8]}),
    "detris-l": (
        "L",
        "dinov2-l",
        {"dinov2.levels": [8, 16], "detris.at": [2, 6, 10, 14, 18, 22], "detris.text_at": _DETRIS_TEXT},
    ),
    "detris-mixed": (
        "L, mixed",
        "dinov2-l",
        {
            "dinov2.levels": [8, 16],
            "detris.channels": 384,
            "detris.text_channels": 384,
            "detris.at": list(range(1, 24)),
            "detris.text_at": list(range(1, 12)),
        },
    ),
}
"""The configurations of jiaqihuang01/DETRIS at c94b1e1; blocks are counted from 0."""

for _suite, (_size, _backbone, _options) in _DETRIS.items():
    _register(
        _suite,
        f"how DETRIS' configuration {_size} scores, with its places, levels, positions and neck",
        [("detris", f"as published, {_size}", {"dinov2.positions": "detris", **_options})],
        backbones=(_backbone,),
        necks=("detris",),
    )
