"""The kind of an expression, against sentences judged by hand; their manner is that of the real annotators."""

import time

import numpy as np
import pytest

from barbench.datasets.expression_kinds import KINDS, kind
from barbench.datasets.shapes.language import RELATIONS, ZONES, Looks, Meaning, spoken
from barbench.datasets.shapes.scene import COLOURS, SIZES, TEXTURES

JUDGED = {
    "relation": """
        man next to the dog | woman behind the counter | cup left of plate | to the left of the red vase
        the chair in front of the man | girl holding umbrella | person riding a horse | bench under tree
        sandwich on top of the other sandwich | the elephant walking beside a smaller elephant
        the man standing near the fence with a red hat | a bowl of soup between two plates | guy by the door
        a woman sitting on a bench | a cat laying on a laptop | a black suitcase on a brown suitcase
        zebra closest to the fence | the boy facing the camera man | a person to the right of a man in blue
    """,
    "location": """
        left guy | right | bottom right corner | second from the left | the man on the far right | top left
        person on right side of picture | woman at the left of the photo | guy in back | kid in middle
        closest to camera | zebra nearest us | car in the background | 2nd from right | guy on left in red shirt
        front bike | far left giraffe | horse on the right side | the middle one | couch on the left | third bus
        person in front | next to last | rightmost zebra | left side of pic
    """,
    "attribute": """
        man in red | red shirt | the tall boy | black top | girl in tank top | woman wearing a hat | guy with beard
        blue striped tie | smaller giraffe | number 23 | kid running | a young child eating | old man | blonde
        white car | man with glasses | lady with white hair | woman in pink bikini | the wooden chair
    """,
    "bare name": """
        zebra | the bus | man | person | giraffe | broccoli | building | bowl of soup | something | motorcycle
        a teddy bear | umpire | king | the batter | slice of pizza | toppings
    """,
}
PAIRS = [
    (text.strip(), name) for name, texts in JUDGED.items() for line in texts.split("\n") for text in line.split("|")
]
SENTENCES = [(text, name) for text, name in PAIRS if text]


@pytest.mark.parametrize(("text", "name"), SENTENCES)
def test_sentences_in_the_manner_of_refcoco(text: str, name: str) -> None:
    assert KINDS[kind(text)] == name


def test_case_and_blanks_do_not_matter() -> None:
    assert kind("  Man  NEXT\tto the Dog ") == kind("man next to the dog")


def test_no_words_are_a_bare_name() -> None:
    assert KINDS[kind("")] == KINDS[kind("éléphant ?!")] == "bare name"


@pytest.mark.parametrize("seed", range(20))
def test_the_shapes_language_is_judged_by_what_it_means(seed: int) -> None:
    rng = np.random.default_rng(seed)
    other = Looks("star", "red")
    for relation in RELATIONS:
        assert KINDS[kind(spoken(Meaning(Looks("man", "blue"), "", relation, other), rng))] == "relation"
    for zone in ZONES:
        assert KINDS[kind(spoken(Meaning(Looks("circle"), zone), rng))] == "location"
    for looks in (
        *(Looks("square", colour=colour) for colour in COLOURS),
        *(Looks("woman", texture=texture) for texture in TEXTURES),
        *(Looks("shape", size=size) for size in SIZES),
    ):
        assert KINDS[kind(spoken(Meaning(looks), rng))] == "attribute"
    assert KINDS[kind(spoken(Meaning(Looks("person")), rng))] == "bare name"


def test_hostile_text_takes_no_time() -> None:
    begin = time.perf_counter()
    for text in ("left " * 5000, "a" * 50_000, "on the " * 5000, "ing" * 10_000, "1" * 50_000):
        kind(text)
    assert time.perf_counter() - begin < 2
