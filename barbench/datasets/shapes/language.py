"""Referring expressions for scenes: what a phrase means (which things it fits) and how each benchmark's annotators would word it."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np

from barbench.datasets.shapes.scene import COLOURS, OUTLINES, SIZES, TEXTURES, Rng, Scene, Thing

ZONES = ("left", "right", "top", "bottom", "middle")
RELATIONS = ("to the left of", "to the right of", "above", "below")
FAMILY_WORDS = {"people": "person", "objects": "shape"}
MARGIN = 0.08  # a relation must hold by this share of the picture's short side


@dataclass(frozen=True, slots=True)
class Looks:
    """A partial description; an empty field fits everything. `noun` is a kind, or a family's word (person, shape)."""

    noun: str
    colour: str = ""
    texture: str = ""
    size: str = ""

    def fits(self, thing: Thing) -> bool:
        return (
            self.noun in (thing.kind, FAMILY_WORDS[thing.family])
            and self.colour in ("", thing.colour)
            and self.texture in ("", thing.texture)
            and self.size in ("", thing.size)
        )

    def words(self) -> float:
        """Length in words; "plain" weighs double, since nobody says it without need."""
        return 1 + bool(self.colour) + bool(self.texture) + (self.texture == "plain") + bool(self.size)


@dataclass(frozen=True, slots=True)
class Meaning:
    """What an expression says: looks, perhaps a zone of the picture, perhaps a relation to a thing of other looks."""

    looks: Looks
    zone: str = ""
    relation: str = ""
    other: Looks | None = None

    def fits(self, scene: Scene) -> list[int]:
        """Indices of the scene's things that the expression fits; one of them means that it is unambiguous."""
        return [i for i, t in enumerate(scene.things) if self.looks.fits(t) and self._placed(t, scene)]

    def _placed(self, thing: Thing, scene: Scene) -> bool:
        if self.zone and not in_zone(thing, scene, self.zone):
            return False
        other = self.other
        return other is None or any(other.fits(o) and related(thing, o, scene, self.relation) for o in scene.things if o is not thing)


def in_zone(thing: Thing, scene: Scene, zone: str) -> bool:
    """Whether the thing's centre lies in the outer 40 % on that side, or in the middle 40 % both ways."""
    x, y = thing.x / scene.width, thing.y / scene.height
    return {"left": x < 0.4, "right": x > 0.6, "top": y < 0.4, "bottom": y > 0.6, "middle": abs(x - 0.5) < 0.2 and abs(y - 0.5) < 0.2}[zone]


def related(a: Thing, b: Thing, scene: Scene, relation: str) -> bool:
    """Whether `a` stands so to `b`, by a margin and more along the relation's axis than across it."""
    dx, dy, least = b.x - a.x, b.y - a.y, MARGIN * min(scene.width, scene.height)
    along, across = {"to the left of": (dx, dy), "to the right of": (-dx, dy), "above": (dy, dx), "below": (-dy, dx)}[relation]
    return along > least and along > abs(across)


def descriptions(thing: Thing) -> Iterator[Looks]:
    """Every true partial description of a thing."""
    for noun, colour, texture, size in product((thing.kind, FAMILY_WORDS[thing.family]), ("", thing.colour), ("", thing.texture), ("", thing.size)):
        yield Looks(noun, colour, texture, size)


def phrase(looks: Looks, rng: Rng) -> str:
    """The looks in words: "small striped red circle", "man in red"."""
    worn = " ".join(w for w in (looks.texture, looks.colour) if w)
    person = looks.noun in ("man", "woman", "child", "person")
    if person and looks.colour and rng.random() < 0.6:
        words = [looks.size, looks.noun, "in", worn]
    else:
        words = [looks.size, worn, looks.noun]
    return " ".join(w for w in words if w)


def _short(meaning: Meaning, rng: Rng) -> str:
    """RefCOCO's manner: few words, no sentence, the place before or after."""
    text, zone = phrase(meaning.looks, rng), meaning.zone
    if not zone:
        return text if rng.random() < 0.6 else f"the {text}"
    place = "in the middle" if zone == "middle" else f"at the {zone}" if zone in ("top", "bottom") else f"on the {zone}"
    return str(rng.choice([f"{zone} {text}", f"{text} {zone}", f"{text} {place}"]))


def _long(meaning: Meaning, rng: Rng) -> str:
    """G-Ref's manner: a full phrase, with a relation."""
    text = phrase(meaning.looks, rng)
    text = f"the {text}" if rng.random() < 0.5 else f"{'an' if text[0] in 'aeiou' else 'a'} {text}"
    if meaning.other is None:
        return text
    return f"{text} {rng.choice(['', 'that is ', 'placed '])}{meaning.relation} the {phrase(meaning.other, rng)}"


def spoken(meaning: Meaning, rng: Rng) -> str:
    """A meaning in words, long where it names a second thing."""
    return _long(meaning, rng) if meaning.other is not None or (not meaning.zone and rng.random() < 0.3) else _short(meaning, rng)


def vocabulary() -> list[str]:
    """Every word that an expression can hold."""
    words = {*COLOURS, *TEXTURES, *SIZES, *OUTLINES, *FAMILY_WORDS.values(), *ZONES, *" ".join(RELATIONS).split()}
    return sorted(words | set("the a an in on at that is placed".split()))


def _meanings(thing: Thing, scene: Scene, style: str) -> list[tuple[Meaning, float]]:
    """True meanings for a thing in a benchmark's style, each with a weight: short ones are likelier in the short styles."""
    looks = list(descriptions(thing))
    if style == "refcoco+":  # no words of absolute place: looks alone
        return [(Meaning(d), 0.5 ** d.words()) for d in looks]
    if style == "refcoco":
        zones = ["", *(z for z in ZONES if in_zone(thing, scene, z))]
        return [(Meaning(d, z), 0.4 ** d.words() * (2.0 if z else 1.0)) for d in looks for z in zones]
    if style == "refcocog":
        near = [(r, o) for o in scene.things if o is not thing for r in RELATIONS if related(thing, o, scene, r)]
        linked = [(Meaning(d, "", r, e), 1.0) for d in looks if d.words() > 1 for r, o in near for e in descriptions(o) if e.words() > 1]
        return linked or [(Meaning(d), float(d.words())) for d in looks]
    raise ValueError(f"no such style of expression: {style!r}")


def express(scene: Scene, index: int, style: str, count: int, rng: Rng) -> list[tuple[str, Meaning]]:
    """Up to `count` different unambiguous expressions for thing `index`, in a benchmark's style: (text, meaning) pairs."""
    options = [(m, w) for m, w in _meanings(scene.things[index], scene, style)]
    order = rng.permutation(len(options)) if len(options) > 200 else np.arange(len(options))
    kept = [options[i] for i in order[:200] if options[i][0].fits(scene) == [index]]
    if not kept:
        return []
    weights = np.array([w for _, w in kept])
    chosen = rng.choice(len(kept), size=min(count, len(kept)), replace=False, p=weights / weights.sum())
    word = _long if style == "refcocog" else _short
    texts: dict[str, Meaning] = {}
    for i in chosen:
        texts.setdefault(word(kept[i][0], rng), kept[i][0])
    return list(texts.items())
