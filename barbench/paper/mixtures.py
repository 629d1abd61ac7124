"""Training on several data sets at once: `barbench run --split mixed`, and `mixed-leaked`. `barbench list splits`.

The members are those of the eight columns of the paper's Tables 2 and 3: RefCOCO, RefCOCO+ and G-Ref as umd divides it.
Google's partition of G-Ref is no member: the tables have no column for it, its images are umd's again, and most of its
val images are in its own train split.

An epoch passes over every reference of every member, each as its own data set has it, in one shuffled order: an object
that several data sets refer to is seen once for each. That is the plain concatenation of the public mixed recipes
(UNINEXT `conversion/convert_mix_ref.py` at a6d4cac, its 126,908 objects; DETRIS `tools/mix.py` at dac85f0), which leave
images of the other data sets' val and test splits in. PolyFormer (`data/create_finetuning_data.py` at 5d21aeb) takes
them out, and so does `mixed`.

All expressions have G-Ref's context of 22 tokens: with RefCOCO's 17 a model would read less of G-Ref than it does when
trained on G-Ref alone, and some methods walk the padding, so that a model has one context in training and evaluation.
"""

from dataclasses import dataclass, replace
from typing import Final, Literal

from barbench.paper.protocols import KNOWN, PROTOCOLS, Evaluated, Protocol
from barbench.registry import Registry


@dataclass(frozen=True)
class Mixture:
    """The union of the members' train splits, evaluated on all of their evaluation splits.

    Attributes:
        name: as on the command line.
        title: for people.
        members: the protocols that train.
        excluded: protocols whose evaluation images train nothing.
        words: context length in tokens, as in Protocol.
        suffix: what it adds to the label of a row, as in the paper's BarLeRIa-Mixed.
    """

    name: str
    title: str
    members: tuple[Protocol, ...]
    excluded: tuple[Protocol, ...]
    words: int
    suffix: str

    @property
    def reads(self) -> tuple[Protocol, ...]:
        """The protocols whose files are read."""
        return tuple(dict.fromkeys((*self.members, *self.excluded)))

    @property
    def evaluated(self) -> tuple[Evaluated, ...]:
        """The evaluation splits of all members."""
        return tuple(Evaluated(f"{p.name} {split}", p, split) for p in self.members for split in p.evals)


Task = Protocol | Mixture
"""What a cell is trained and evaluated on; both name their `members`, what they `read` and what is `evaluated`."""

Exif = Literal["stored", "apply"]
STORED: Final = "stored"
APPLY: Final = "apply"
"""How the images of a task are read: as stored, or turned as their EXIF orientation says."""


def turned(task: Task) -> Task:
    """Turn the images of a task as their EXIF orientation says.

    Args:
        task: as registered.

    Returns:
        The same task, whose files are read so.
    """
    if isinstance(task, Protocol):
        return replace(task, upright=True)
    members, excluded = (
        tuple(replace(protocol, upright=True) for protocol in group) for group in (task.members, task.excluded)
    )
    return replace(task, members=members, excluded=excluded)


MEMBERS = tuple(map(PROTOCOLS.get, ("refcoco", "refcoco+", "refcocog-u")))
WORDS = max(p.words for p in MEMBERS)

TASKS: Registry[Task] = Registry("split")
for _protocol in KNOWN:
    TASKS.register(_protocol.name, _protocol)
TASKS.register("mixed", Mixture("mixed", "Mixed", MEMBERS, tuple(PROTOCOLS), WORDS, "-Mixed"))
TASKS.register(
    "mixed-leaked", Mixture("mixed-leaked", "Mixed, evaluation images left in", MEMBERS, (), WORDS, "-Mixed (leaked)")
)
