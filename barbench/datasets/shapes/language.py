"""Referring expressions for scenes: what a phrase means (which figures it fits), and how each benchmark's annotators
would word it."""

from dataclasses import dataclass

from barbench.datasets.shapes.scene import COLOURS, OUTLINES, SIZES, TEXTURES, Rng, Scene, Thing

ZONES = ("left", "right", "top", "bottom", "middle")
RELATIONS = ("to the left of", "to the right of", "above", "below")
FAMILY_WORDS = {"people": "person", "objects": "shape"}
MARGIN = 0.08  # a relation must hold by this share of the picture's short side
PROPOSALS = 40  # tried for one figure


@dataclass(frozen=True, slots=True)
class Looks:
    """A partial description; an empty field fits everything.

    Attributes:
        noun: a kind, or a family's word (person, shape).
        colour: a key of COLOURS.
        texture: one of TEXTURES.
        size: a key of SIZES.
    """

    noun: str
    colour: str = ""
    texture: str = ""
    size: str = ""

    def fits(self, thing: Thing) -> bool:
        """Whether the description is true of the figure."""
        return (
            self.noun in (thing.kind, FAMILY_WORDS[thing.family])
            and self.colour in ("", thing.colour)
            and self.texture in ("", thing.texture)
            and self.size in ("", thing.size)
        )


@dataclass(frozen=True, slots=True)
class Meaning:
    """What an expression says.

    Attributes:
        looks: of the figure.
        zone: one of ZONES, where the figure is in the picture; empty if not said.
        relation: one of RELATIONS, how the figure stands to `other`; empty if not said.
        other: looks of a second figure.
    """

    looks: Looks
    zone: str = ""
    relation: str = ""
    other: Looks | None = None

    def fits(self, scene: Scene) -> list[int]:
        """Indices of the scene's figures that the expression fits; exactly one means that it is unambiguous."""
        found = []
        for index, thing in enumerate(scene.things):
            if self.looks.fits(thing) and self._is_placed(thing, scene):
                found.append(index)
        return found

    def _is_placed(self, thing: Thing, scene: Scene) -> bool:
        if self.zone and not in_zone(thing, scene, self.zone):
            return False
        if self.other is None:
            return True
        for other in scene.things:
            if other is not thing and self.other.fits(other) and related(thing, other, scene, self.relation):
                return True
        return False


def in_zone(thing: Thing, scene: Scene, zone: str) -> bool:
    """Whether a figure is in a zone: its centre is in the outer 40 % on that side, or in the middle 40 % both ways."""
    x = thing.x / scene.width
    y = thing.y / scene.height
    return {
        "left": x < 0.4,
        "right": x > 0.6,
        "top": y < 0.4,
        "bottom": y > 0.6,
        "middle": abs(x - 0.5) < 0.2 and abs(y - 0.5) < 0.2,
    }[zone]


def related(a: Thing, b: Thing, scene: Scene, relation: str) -> bool:
    """Whether `a` has the relation to `b`, by more than a margin, and more along the relation's axis than across it."""
    dx = b.x - a.x
    dy = b.y - a.y
    # From `a` to `b`: along the relation, and across it.
    directions = {
        "to the left of": (dx, dy),
        "to the right of": (-dx, dy),
        "above": (dy, dx),
        "below": (-dy, dx),
    }
    along, across = directions[relation]
    least = MARGIN * min(scene.width, scene.height)
    return along > least and along > abs(across)


def phrase(looks: Looks, rng: Rng) -> str:
    """The looks in words: "small striped red circle", "man in red"."""
    worn = " ".join(filter(None, (looks.texture, looks.colour)))
    person = looks.noun in ("man", "woman", "child", "person")
    if person and looks.colour and rng.random() < 0.6:
        words = [looks.size, looks.noun, "in", worn]
    else:
        words = [looks.size, worn, looks.noun]
    return " ".join(filter(None, words))


def _short(meaning: Meaning, rng: Rng) -> str:
    """RefCOCO's style: few words, no sentence, the place before or after."""
    text = phrase(meaning.looks, rng)
    zone = meaning.zone
    if not zone:
        return text if rng.random() < 0.6 else f"the {text}"
    preposition = {"middle": "in", "top": "at", "bottom": "at"}.get(zone, "on")
    ways = [f"{zone} {text}", f"{text} {zone}", f"{text} {preposition} the {zone}"]
    return str(rng.choice(ways))


def _long(meaning: Meaning, rng: Rng) -> str:
    """G-Ref's style: a full phrase, with a relation."""
    text = phrase(meaning.looks, rng)
    article = "an" if text[0] in "aeiou" else "a"
    if rng.random() < 0.5:
        article = "the"
    text = f"{article} {text}"
    if meaning.other is None:
        return text
    link = rng.choice(["", "that is ", "placed "])
    return f"{text} {link}{meaning.relation} the {phrase(meaning.other, rng)}"


def spoken(meaning: Meaning, rng: Rng) -> str:
    """A meaning in words, long if it names a second figure."""
    if meaning.other is not None or (not meaning.zone and rng.random() < 0.3):
        return _long(meaning, rng)
    return _short(meaning, rng)


def vocabulary() -> list[str]:
    """Every word that an expression can contain, sorted."""
    words = {"the", "a", "an", "in", "on", "at", "that", "is", "placed"}
    words.update(COLOURS, TEXTURES, SIZES, OUTLINES, FAMILY_WORDS.values(), ZONES)
    words.update(" ".join(RELATIONS).split())
    return sorted(words)


def propose(scene: Scene, thing: Thing, style: str, rng: Rng) -> Meaning:
    """Say something true of a figure; it need not tell the figure from the others.

    The style `refcoco+` uses looks alone and never places; `refcoco` mostly adds the zone of the picture; `refcocog`
    relates the figure to another.
    """
    looks = _some_looks(thing, rng)
    # RefCOCO's annotators mostly say where in the picture.
    if style == "refcoco" and rng.random() < 0.65:
        zones = [zone for zone in ZONES if in_zone(thing, scene, zone)]
        zone = zones[rng.integers(len(zones))] if zones else ""
        return Meaning(looks, zone)
    # G-Ref's say how the figure lies to another one.
    if style == "refcocog":
        near = []
        for other in scene.things:
            if other is not thing:
                near += [(relation, other) for relation in RELATIONS if related(thing, other, scene, relation)]
        if near:
            relation, other = near[rng.integers(len(near))]
            return Meaning(looks, "", relation, _some_looks(other, rng))
    return Meaning(looks)


def _some_looks(thing: Thing, rng: Rng) -> Looks:
    """Part of a figure's looks. Colour is what people name most; "plain" is rarely said."""
    drawn = rng.random(4)
    noun = thing.kind if drawn[0] < 0.75 else FAMILY_WORDS[thing.family]
    colour = thing.colour if drawn[1] < 0.65 else ""
    textured = 0.15 if thing.texture == "plain" else 0.5
    texture = thing.texture if drawn[2] < textured else ""
    size = thing.size if drawn[3] < 0.25 else ""
    return Looks(noun, colour, texture, size)


def express(scene: Scene, index: int, style: str, count: int, rng: Rng) -> list[str]:
    """Find up to `count` different unambiguous expressions for one figure; none if every proposal fits other figures
    too."""
    texts: dict[str, None] = {}  # an ordered set
    for _ in range(PROPOSALS):
        meaning = propose(scene, scene.things[index], style, rng)
        if meaning.fits(scene) == [index]:
            text = _long(meaning, rng) if style == "refcocog" else _short(meaning, rng)
            texts[text] = None
        if len(texts) == count:
            break
    return list(texts)
