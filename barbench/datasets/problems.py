"""Problems of a dataset: named, counted and handled by a stated rule. `barbench data verify` prints them."""

# What is done about each kind of problem. Nothing is dropped without one of these lines.
RULES = {
    "reference without annotation": "left out",
    "reference without image entry": "left out",
    "reference whose annotation has no image_id": "left out",
    "reference whose annotation is of another image": "left out",
    "reference without sentence": "left out",
    "sentence without words": "kept in evaluation, never drawn in training",
    "empty mask": "kept in evaluation (scores 0), left out of training",
    "mask reaches outside its image": "clipped to the image",
    "crowd among the objects meant": "left out of the mask, as gRefCOCO's authors do",
    "polygon between 0 and 1": "shares of the image, where pixels are expected; `barbench data verify` refuses it",
    "annotation of no reference that cannot be read": "left out: failures are not told apart by it",
    "expression longer than the context": "cut, its end-of-text token kept",
    "damaged image": "used as its decoder fills it; `barbench data verify` refuses it",
}
SHOWN = 5
FAILURES = frozenset({"polygon between 0 and 1"})
"""Kinds that `barbench data verify` refuses: the rule cannot make them right."""


class Problems:
    """Kinds of problem, each with the places where it was found; the same place counts once."""

    def __init__(self) -> None:
        self.found: dict[str, dict[str, None]] = {}

    def note(self, kind: str, where: str) -> None:
        """Record a problem: its kind, a key of RULES, and where it is: a file, "reference 12", …; ValueError for
        another kind."""
        if kind not in RULES:
            raise ValueError(f"no rule says what is done about {kind!r}")
        self.found.setdefault(kind, {})[where] = None

    def counts(self) -> dict[str, int]:
        """Number of places per kind of problem."""
        return {kind: len(places) for kind, places in self.found.items()}

    def lines(self) -> list[str]:
        """One line per kind for people: how often, the rule, and the first places."""
        lines = []
        for kind, places in self.found.items():
            first = list(places)[:SHOWN]
            if len(places) > SHOWN:
                first.append("…")
            lines.append(f"{kind}: {len(places)} ({RULES[kind]}): {', '.join(first)}")
        return lines
