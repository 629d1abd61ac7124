"""What is wrong with a data set, named, counted and handled by a stated rule. `barbench data verify` prints it."""

# What is done about each kind of problem. Nothing is dropped without one of these lines.
RULES = {
    "reference without annotation": "left out",
    "reference without image entry": "left out",
    "reference whose annotation is of another image": "left out",
    "reference without sentence": "left out",
    "sentence without words": "kept in evaluation, never drawn in training",
    "empty mask": "kept in evaluation (scores 0), left out of training",
    "mask reaches outside its image": "clipped to the image",
    "expression longer than the context": "cut, its end-of-text token kept",
}


class Problems:
    """Kinds of problem, each with where it was found; noting the same place twice counts once."""

    def __init__(self) -> None:
        self.found: dict[str, dict[str, None]] = {}

    def note(self, kind: str, where: str) -> None:
        """Records that `where` (a file, "reference 12", …) has the problem `kind`, a key of RULES."""
        if kind not in RULES:
            raise ValueError(f"no rule says what is done about {kind!r}")
        self.found.setdefault(kind, {})[where] = None

    def counts(self) -> dict[str, int]:
        return {kind: len(places) for kind, places in self.found.items()}

    def lines(self, shown: int = 5) -> list[str]:
        """One line a kind, for people: how often, the rule, the first `shown` places."""
        return [
            f"{kind}: {len(places)} ({RULES[kind]}): {', '.join(list(places)[:shown])}{', …' * (len(places) > shown)}"
            for kind, places in self.found.items()
        ]
