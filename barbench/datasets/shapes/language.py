"""Referring expressions for scenes: what a phrase means (which things it fits) and how each benchmark's annotators
would word it."""

from dataclasses import dataclass

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
        return other is None or any(
            other.fits(o) and related(thing, o, scene, self.relation) for o in scene.things if o is not thing
        )


def in_zone(thing: Thing, scene: Scene, zone: str) -> bool:
    """Whether the thing's centre lies in the outer 40 % on that side, or in the middle 40 % both ways."""
    x, y = thing.x / scene.width, thing.y / scene.height
    return {
        "left": x < 0.4,
        "right": x > 0.6,
        "top": y < 0.4,
        "bottom": y > 0.6,
        "middle": abs(x - 0.5) < 0.2 and abs(y - 0.5) < 0.2,
    }[zone]


def related(a: Thing, b: Thing, scene: Scene, relation: str) -> bool:
    """Whether `a` stands so to `b`, by a margin and more along the relation's axis than across it."""
    dx, dy, least = b.x - a.x, b.y - a.y, MARGIN * min(scene.width, scene.height)
    along, across = {"to the left of": (dx, dy), "to the right of": (-dx, dy), "above": (dy, dx), "below": (-dy, dx)}[
        relation
    ]
    return along > least and along > abs(across)


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
    return (
        _long(meaning, rng)
        if meaning.other is not None or (not meaning.zone and rng.random() < 0.3)
        else _short(meaning, rng)
    )


def vocabulary() -> list[str]:
    """Every word that an expression can hold."""
    words = {*COLOURS, *TEXTURES, *SIZES, *OUTLINES, *FAMILY_WORDS.values(), *ZONES, *" ".join(RELATIONS).split()}
    return sorted(words | {"the", "a", "an", "in", "on", "at", "that", "is", "placed"})


def propose(scene: Scene, thing: Thing, style: str, rng: Rng) -> Meaning:
    """Something true of the thing, in the manner of one benchmark: not always enough to tell it from the others.

    `refcoco+` speaks of looks alone and never of places; `refcoco` mostly adds the zone of the picture; `refcocog`
    relates the thing to another.
    """
    looks = _some_looks(thing, rng)
    if style == "refcoco" and rng.random() < 0.65:
        zones = [z for z in ZONES if in_zone(thing, scene, z)]
        return Meaning(looks, zones[rng.integers(len(zones))] if zones else "")
    if style == "refcocog":
        near = [(r, o) for o in scene.things if o is not thing for r in RELATIONS if related(thing, o, scene, r)]
        if near:
            relation, other = near[rng.integers(len(near))]
            return Meaning(looks, "", relation, _some_looks(other, rng))
    return Meaning(looks)


def _some_looks(thing: Thing, rng: Rng) -> Looks:
    """Part of a thing's looks. Colour is what people name most; "plain" is said only where it tells."""
    keep = rng.random(4)
    noun = thing.kind if keep[0] < 0.75 else FAMILY_WORDS[thing.family]
    texture = thing.texture if keep[2] < (0.15 if thing.texture == "plain" else 0.5) else ""
    return Looks(noun, thing.colour if keep[1] < 0.65 else "", texture, thing.size if keep[3] < 0.25 else "")


def express(scene: Scene, index: int, style: str, count: int, rng: Rng, tries: int = 40) -> list[str]:
    """Up to `count` different unambiguous expressions for thing `index`, in a benchmark's style; none where `tries`
    proposals all fit other things too."""
    texts: dict[str, None] = {}
    for _ in range(tries):
        meaning = propose(scene, scene.things[index], style, rng)
        if meaning.fits(scene) == [index]:
            texts[_long(meaning, rng) if style == "refcocog" else _short(meaning, rng)] = None
        if len(texts) == count:
            break
    return list(texts)
