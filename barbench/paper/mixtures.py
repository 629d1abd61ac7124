"""Training on several data sets at once: `barbench run --dataset mixed`, and `mixed-leaked`. `barbench list datasets`.

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

from dataclasses import dataclass

from barbench.paper.partitions import PAPER_PARTITIONS, Partition
from barbench.registry import Registry


@dataclass(frozen=True)
class Mixture:
    """The union of the members' train splits, evaluated on all of their evaluation splits.

    Attributes:
        name: as on the command line.
        excluded: partitions whose evaluation images are left out of training.
        suffix: what it adds to the label of a row, as in the paper's BarLeRIa-Mixed.
    """

    name: str
    title: str
    members: tuple[Partition, ...]
    excluded: tuple[Partition, ...]
    context_length: int
    suffix: str


MEMBERS = tuple(PAPER_PARTITIONS.get(name) for name in ("refcoco", "refcoco+", "refcocog-u"))
_CONTEXT_LENGTH = max(member.context_length for member in MEMBERS)

MIXTURES: Registry[Mixture] = Registry("dataset")
for _mixture in (
    Mixture(
        name="mixed",
        title="Mixed",
        members=MEMBERS,
        excluded=tuple(PAPER_PARTITIONS),
        context_length=_CONTEXT_LENGTH,
        suffix="-Mixed",
    ),
    Mixture(
        name="mixed-leaked",
        title="Mixed, evaluation images left in",
        members=MEMBERS,
        excluded=(),
        context_length=_CONTEXT_LENGTH,
        suffix="-Mixed (leaked)",
    ),
):
    MIXTURES.register(_mixture.name, _mixture)
