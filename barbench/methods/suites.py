"""Suites: lists of methods with options that answer one question together. `barbench run --suite ablations` runs one.

A row is an ordinary `MethodSpec` whose options are set and whose title says so: a matrix takes it like any method.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from barbench.methods.catalog import METHODS, MethodSpec, Options
from barbench.registry import Registry


@dataclass(frozen=True, slots=True)
class Suite:
    """A list of methods with options, and the question that they answer.

    Attributes:
        question: in words.
        rows: (method, what its title adds, options) per row.
    """

    question: str
    rows: Sequence[tuple[str, str, Options]]

    def methods(self) -> list[MethodSpec]:
        """The rows as methods, named `barleria[gst.modules=2]`."""
        return [_with(METHODS.get(name), note, options) for name, note, options in self.rows]


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
