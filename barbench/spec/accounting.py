"""What counts as tuned, and of what it is a share: `--count own+head --of total`, or a preset, `--count cola`.

Papers print "2 %" by different rules: a share says nothing without both words. The groups of a ledger are a partition
of a segmenter's parameters; `adapter` is their sum without positions, head and frozen ones, the paper's "Params". A
parameter that is shared counts once, buffers and running statistics never.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

from barbench.errors import UnknownName, UsageError

SPLIT: Final = ("own", "norms", "biases", "weights")
"""Of `adapter`: modules that the method added; tuned gains and shifts of the towers' norms; other tuned biases of the
towers; other tuned weights of the towers."""
TUNED: Final = (*SPLIT, "positional", "head")
GROUPS: Final = (*TUNED, "frozen")
"""All groups, by their keys in a ledger: a partition."""
TOWERS: Final = ("vision", "text", "vision_positions", "text_positions")
"""Sizes of the towers, tuned or not, without what counts as head: weights, and positional embeddings beside them."""

_PARTS: Final[Mapping[str, tuple[str, ...]]] = {
    "own": ("own",),
    "adapter": ("adapter",),
    "positions": ("positional",),
    "head": ("head",),
    "all": ("adapter", "positional", "head"),
}
_NOPOS: Final = "-nopos"
_WHOLES: Final[Mapping[str, tuple[str, ...]]] = {
    "vision": ("vision", "vision_positions"),
    "towers": TOWERS,
    "total": (*TOWERS, "head", "own"),
}
NOT_RECORDED: Final = "not recorded"
"""What stands for a count that a record is too old to hold."""


class CountRule(NamedTuple):
    """A rule of counting.

    Attributes:
        groups: which groups count as tuned, names as `--count` takes them.
        of: what the share is of, as `--of` takes it; "none" for millions.
    """

    groups: tuple[str, ...] = ("adapter",)
    of: str = "none"

    def parameters(self, ledger: Mapping[str, int]) -> int | None:
        """How many parameters count as tuned; None where the ledger does not hold a group."""
        parts: list[str] = []
        for name in self.groups:
            parts += _PARTS[name]
        return _sum(ledger, parts)

    def denominator(self, ledger: Mapping[str, int]) -> int | None:
        """What the share is of, in parameters; None for millions, and where the ledger does not hold it."""
        name = self.of.removesuffix(_NOPOS)
        if name not in _WHOLES:
            return None
        parts = list(_WHOLES[name])
        if self.of.endswith(_NOPOS):
            parts = [part for part in parts if not part.endswith("_positions")]
        return _sum(ledger, parts)

    def share(self, ledger: Mapping[str, int]) -> float | None:
        """The tuned parameters in percent of the denominator; None where one of the two is not known."""
        counted = self.parameters(ledger)
        whole = self.denominator(ledger)
        if counted is None or not whole:
            return None
        return 100 * counted / whole

    @property
    def in_percent(self) -> bool:
        """Whether a share is printed rather than millions."""
        return self.of != "none"

    @property
    def words(self) -> str:
        """Both words, as `own + head, % of total`, or `adapter, in millions`."""
        counted = " + ".join(self.groups)
        return f"{counted}, % of {self.of}" if self.in_percent else f"{counted}, in millions"

    def printed(self, ledger: Mapping[str, int]) -> str:
        """The share with three digits, or the number; `not recorded` where the ledger is too old."""
        if self.in_percent:
            share = self.share(ledger)
            return NOT_RECORDED if share is None else f"{share:.3f}"
        counted = self.parameters(ledger)
        return NOT_RECORDED if counted is None else f"{counted:,}"


def _sum(ledger: Mapping[str, int], parts: list[str]) -> int | None:
    if any(part not in ledger for part in parts):
        return None
    return sum(ledger[part] for part in parts)


DEFAULT: Final = CountRule()
"""The paper's column "Params (M)"."""
PRESETS: Final[Mapping[str, CountRule]] = {
    "etris": CountRule(("own",), "vision-nopos"),
    "barleria-range": CountRule(("own",), "vision-nopos"),
    "barleria": CountRule(("own",), "towers-nopos"),
    "detris": CountRule(("own",), "towers"),
    "mapper": CountRule(("own",), "towers"),
    "cola": CountRule(("own", "head"), "total"),
}
"""The rules that reproduce what papers print: "1.61 %" of ETRIS; "0.4 % to 2.5 %" and "1.5 %" of BarLeRIa; "0.9 % to
1.8 %" of DETRIS; "1.41 % within pre-trained backbones" of MaPPER (its sum was not rebuilt); 12.5 and 17.2 % of CoLA.
The 17.4 to 17.8 % that CoLA's table gives ETRIS, DETRIS and BarLeRIa follow from no rule."""


def parse_rule(count: str | None, of: str | None) -> CountRule:
    """Read `--count`, which are names joined by + or a preset, and `--of`.

    UnknownName for a name that is none of them, UsageError for a preset with a denominator of one's own and for a group
    that is counted twice.

    Args:
        count: None: adapter.
        of: the denominator; None: that of the preset, else none.
    """
    # A preset has both words.
    if count is not None and count in PRESETS:
        if of is not None:
            raise UsageError(
                f"--count {count} is a whole rule, {PRESETS[count].words}: leave --of out, or name the groups instead"
            )
        return PRESETS[count]
    # What is counted: each parameter once.
    names = tuple(part.strip() for part in (count or "adapter").split("+"))
    parts: list[str] = []
    for name in names:
        if name not in _PARTS:
            raise UnknownName("group of --count", name, [*_PARTS, *PRESETS])
        parts += _PARTS[name]
    if len(set(parts)) < len(parts) or {"own", "adapter"} <= set(parts):
        raise UsageError(f"--count {count} counts parameters twice: adapter holds own, and all holds every group")
    # Of what.
    whole = of or "none"
    known = ["none", *_WHOLES, *(f"{name}{_NOPOS}" for name in _WHOLES)]
    if whole not in known:
        raise UnknownName("denominator of --of", whole, known)
    return CountRule(names, whole)
