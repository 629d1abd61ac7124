"""Scenes of coloured figures: what is in a picture, where, and how it is drawn. `barbench data make-shapes` writes
folders of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Rng = np.random.Generator
Polygon = NDArray[np.float64]  # (points, 2), x right and y down
Cover = NDArray[np.float32]

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (210, 40, 40),
    "orange": (240, 140, 30),
    "yellow": (240, 220, 50),
    "green": (50, 160, 60),
    "blue": (50, 90, 210),
    "purple": (140, 60, 170),
    "white": (245, 245, 245),
    "black": (25, 25, 25),
}
TEXTURES = ("plain", "striped", "spotted")
SIZES: dict[str, tuple[float, float]] = {
    "small": (0.14, 0.17),
    "large": (0.23, 0.28),
}  # radius / short side of the image
SKIN = (224, 180, 150)
TRIES = 40  # places that a thing is tried at
GAP = 1.04  # the least distance of two centres, in sums of their radii


def _box(x0: float, y0: float, x1: float, y1: float) -> Polygon:
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], float)


def _round(points: int, radius: float = 1.0, x: float = 0.0, y: float = 0.0, start: float = -np.pi / 2) -> Polygon:
    angles = start + np.linspace(0, 2 * np.pi, points, endpoint=False)
    across = x + radius * np.cos(angles)
    down = y + radius * np.sin(angles)
    return np.stack([across, down], 1)


def _star() -> Polygon:
    outer = _round(5)
    inner = _round(5, 0.45, start=-np.pi / 2 + np.pi / 5)
    return np.stack([outer, inner], 1).reshape(10, 2)


def _cross() -> Polygon:
    a = 0.34  # half the width of an arm
    corners = [
        (-a, -1),
        (a, -1),
        (a, -a),
        (1, -a),
        (1, a),
        (a, a),
        (a, 1),
        (-a, 1),
        (-a, a),
        (-1, a),
        (-1, -a),
        (-a, -a),
    ]
    return np.array(corners, float)


# Outlines in a unit circle. A person's first part is the head; a ring is its outline less its hole, so only RLE can
# hold its mask.
OBJECTS: dict[str, tuple[Polygon, ...]] = {
    "circle": (_round(28, 0.92),),
    "square": (_box(-0.78, -0.78, 0.78, 0.78),),
    "triangle": (np.array([[0, -0.95], [0.9, 0.72], [-0.9, 0.72]]),),
    "star": (_star(),),
    "cross": (_cross(),),
    "diamond": (np.array([[0, -1], [0.62, 0], [0, 1], [-0.62, 0]], float),),
    "ring": (_round(28, 0.95),),
}
RING_HOLE: Polygon = _round(28, 0.5)
PEOPLE: dict[str, tuple[Polygon, ...]] = {
    "man": (
        _round(16, 0.26, 0, -0.72),
        _box(-0.42, -0.44, 0.42, 0.28),
        _box(-0.4, 0.28, -0.06, 1),
        _box(0.06, 0.28, 0.4, 1),
    ),
    "woman": (_round(16, 0.26, 0, -0.72), np.array([[0, -0.5], [0.66, 0.98], [-0.66, 0.98]])),
    "child": (_round(18, 0.46, 0, -0.5), _box(-0.34, -0.04, 0.34, 0.86)),
}
FAMILIES: dict[str, tuple[str, ...]] = {"people": tuple(PEOPLE), "objects": tuple(OBJECTS)}
OUTLINES = {**PEOPLE, **OBJECTS}


@dataclass(frozen=True, slots=True)
class Thing:
    """One figure.

    Attributes:
        kind: a key of OUTLINES.
        colour: a key of COLOURS.
        texture: one of TEXTURES.
        size: a key of SIZES.
        x: of the centre, in pixels from the left.
        y: of the centre, in pixels from the top.
        radius: in pixels.
        angle: in radians.
    """

    kind: str
    colour: str
    texture: str
    size: str
    x: float
    y: float
    radius: float
    angle: float

    @property
    def family(self) -> str:
        """A key of FAMILIES."""
        return "people" if self.kind in PEOPLE else "objects"

    def place(self, outline: Polygon) -> Polygon:
        """Rotate, scale and move an outline (points, 2) of the unit circle to the figure's place in the picture, in
        pixels."""
        cos = np.cos(self.angle)
        sin = np.sin(self.angle)
        rotation = np.array([[cos, sin], [-sin, cos]])
        return np.asarray(outline @ rotation * self.radius + (self.x, self.y))

    def outlines(self) -> list[Polygon]:
        """The outline of each part, (points, 2) in pixels."""
        return [self.place(part) for part in OUTLINES[self.kind]]


@dataclass(frozen=True, slots=True)
class Scene:
    """A picture before it is drawn; width and height in pixels."""

    width: int
    height: int
    things: tuple[Thing, ...]


def _looks(rng: Rng, families: tuple[str, ...], count: int) -> list[tuple[str, str, str]]:
    """Looks of `count` figures, all different. The second has the first's kind, the third the first's colour: no single
    word tells them apart."""
    looks: list[tuple[str, str, str]] = []
    colours = list(COLOURS)
    while len(looks) < count:
        # All are drawn even if one is replaced below: the draws that follow depend on it.
        kind = _one(rng, FAMILIES[_one(rng, families)])
        colour = _one(rng, colours)
        texture = _one(rng, ("plain", *TEXTURES))
        if len(looks) == 1:
            kind = looks[0][0]
        elif len(looks) == 2:
            others = [k for family in families for k in FAMILIES[family] if k != looks[0][0]]
            kind = _one(rng, others)
            colour = looks[0][1]
        if (kind, colour, texture) not in looks:
            looks.append((kind, colour, texture))
    return looks


def _one(rng: Rng, names: Sequence[str]) -> str:
    return names[int(rng.integers(len(names)))]


def sample_scene(
    rng: Rng, width: int, height: int, count: int, families: tuple[str, ...] = ("people", "objects"), scale: float = 1.0
) -> Scene:
    """Draw a scene of figures that do not overlap, at least one; width and height are in pixels.

    Args:
        count: how many figures, if as many fit.
        families: keys of FAMILIES to choose from.
        scale: factor on the sizes of figures.

    Raises:
        ValueError: if not even one figure fits.
    """
    short = min(width, height)
    sides = np.array([[width], [height]])
    names = list(SIZES)
    ranges = np.array(list(SIZES.values()))
    things: list[Thing] = []
    for kind, colour, texture in _looks(rng, families, count):
        # Sizes and places of all tries at once: radii (TRIES,), centres (2, TRIES).
        which = rng.integers(len(names), size=TRIES)
        at = rng.random((3, TRIES))
        low, high = ranges[which].T
        radii = scale * short * (low + at[0] * (high - low))
        room = sides - 2 * radii
        centres = radii + at[1:] * room
        # The first that fits into the picture and touches no other figure is taken.
        free = radii * 2 <= short
        for other in things:
            distances = np.hypot(centres[0] - other.x, centres[1] - other.y)
            least = GAP * (radii + other.radius)
            free &= distances > least
        if not free.any():
            continue
        first = int(free.argmax())
        x, y = centres[:, first].tolist()
        size = names[which[first]]
        radius = float(radii[first])
        angle = rng.uniform(-0.25, 0.25)
        things.append(Thing(kind, colour, texture, size, x, y, radius, angle))
    if not things:
        raise ValueError(f"nothing of scale {scale} fits into {width}x{height} pixels")
    return Scene(width, height, tuple(things))


def _fill(
    shape: tuple[int, int], corner: tuple[int, int], outlines: list[Polygon], hole: Polygon | None = None
) -> Cover:
    """Coverage of the pixels of a window, float32 (height, width, 1) in 0..1, anti-aliased; `corner` is the window's
    (x, y)."""
    cover = np.zeros(shape, np.uint8)
    for outline in outlines:
        _fill_one(cover, outline - corner, 255)
    if hole is not None:
        _fill_one(cover, hole - corner, 0)
    return (cover.astype(np.float32) / np.float32(255))[..., None]


def _fill_one(cover: NDArray[np.uint8], outline: Polygon, value: int) -> None:
    """Fill one outline of the window, in sixteenths of a pixel; pixel i reaches from i - 0.5 to i + 0.5."""
    points = np.round(outline * 16 - 8).astype(np.int32)
    cv2.fillPoly(cover, [points], value, cv2.LINE_AA, 4)


def _paint(rng: Rng, thing: Thing, shape: tuple[int, int], corner: tuple[int, int]) -> Cover:
    """The figure's surface in a window, float32 (height, width, 3): its colour, with stripes or spots in another
    shade."""
    color = np.array(COLOURS[thing.colour], np.float32) + rng.normal(0, 10, 3)
    base = np.clip(color, 0, 255).astype(np.float32)
    turn = rng.uniform(0, np.pi)
    if thing.texture == "plain":
        return np.broadcast_to(base, (*shape, 3))

    # Phases across and down, counted from the figure's centre.
    beat = 3.2 * np.pi / thing.radius
    height, width = shape
    left, top = corner
    across = np.arange(width, dtype=np.float32) + (left - thing.x)
    down = np.arange(height, dtype=np.float32) + (top - thing.y)
    u = (across * beat)[None]
    v = (down * beat)[:, None]
    if thing.texture == "striped":
        wave = np.sin(u * np.cos(turn) + v * np.sin(turn))
        pattern = wave > 0.25
    else:
        wave = np.sin(u) * np.sin(v)
        pattern = wave > 0.3

    # A bright figure has darker marks, a dark one brighter marks.
    if base.mean() > 110:
        shade = base * 0.45
    else:
        shade = base * 0.5 + 110
    return np.where(pattern[..., None], shade.astype(np.float32), base)


def _stamp(canvas: Cover, thing: Thing, rng: Rng) -> None:
    """Draw one figure onto the canvas (height, width, 3), in place; only the window around it changes."""
    # The window that the figure and its smoothed edge lie in.
    reach = thing.radius * 1.1
    left = max(int(thing.x - reach), 0)
    top = max(int(thing.y - reach), 0)
    right = int(thing.x + reach) + 2
    bottom = int(thing.y + reach) + 2
    window = canvas[top:bottom, left:right]
    height, width = window.shape[:2]
    shape = (height, width)
    corner = (left, top)
    # Its surface, where it covers the ground; a person's head has the color of skin.
    parts = thing.outlines()
    paint = _paint(rng, thing, shape, corner)
    if thing.family == "people":
        head = _fill(shape, corner, parts[:1])
        paint = paint * (1 - head) + np.array(SKIN, np.float32) * head
    hole = thing.place(RING_HOLE) if thing.kind == "ring" else None
    window += (paint - window) * _fill(shape, corner, parts, hole)


def draw(scene: Scene, rng: Rng) -> NDArray[np.uint8]:
    """Draw the picture, uint8 (height, width, 3) RGB: a shaded greyish ground, the figures, some noise."""
    rows = np.linspace(-1, 1, scene.height)[:, None, None]
    columns = np.linspace(-1, 1, scene.width)[None, :, None]
    # A grey with a tint, darker toward one side and one end.
    ground = rng.uniform(95, 175) + rng.normal(0, 8, 3)
    slope_down = rows * rng.normal(0, 12)
    slope_across = columns * rng.normal(0, 12)
    canvas = (ground + slope_down + slope_across).astype(np.float32)
    for thing in scene.things:
        _stamp(canvas, thing, rng)
    canvas += 4 * rng.standard_normal(canvas.shape, np.float32)
    return np.clip(canvas, 0, 255).astype(np.uint8)
