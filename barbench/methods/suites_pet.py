"""The rows of the suites about the field's methods: at their own settings, at equal budgets, at other places, beside
LIM.

Budgets B1 to B4 are the adapter counts of SNF, No Global, ETRIS and BarLeRIa on ViT-B/16 (184,416, 390,656, 1,387,648,
2,205,920). Knobs are for its width of 768; `SCALED` says which shrink and grow with a backbone's width, by which step.
"""

from typing import Any

Rows = list[tuple[str, str, dict[str, Any]]]

SCALED = {
    "lora.rank": 1,
    "lora.text_rank": 1,
    "dora.rank": 1,
    "adapter.width": 1,
    "convpass.width": 1,
    "repadapter.width": 2,
    "compacter.width": 4,
    "compacter.text_width": 4,
    "prompts.count": 1,
    "detris.channels": 16,
    "detris.text_channels": 16,
    "detris.embed": 8,
    "bridge.dim": 8,
    "snf.length": 1,
}

SHARES = (0.001229530, 0.002604561, 0.009251645, 0.014707178)
"""B1 to B4 as shares of the encoders of ViT-B/16."""

VISION = ["vision"]
BOTH = ["vision", "text"]
ATTENTION = ["q", "k", "v", "out"]
EVERY_MAP = [*ATTENTION, "up", "gate", "down"]

DEFAULT: Rows = [
    (name, "", {})
    for name in (
        "head-only", "lora", "dora", "ia3", "ssf", "houlsby", "pfeiffer", "adaptformer", "compacter", "repadapter",
        "convpass", "vpt-shallow", "vpt-deep", "deep-prompts", "maple", "bitfit", "layernorm", "layernorm-bias",
        "fish", "random-mask", "detris", "lst", "etris", "snf", "snf-etris", "no-global", "barleria", "full",
    )
]  # fmt: skip


def _curve(method: str, *points: dict[str, Any], note: str = "", **fixed: Any) -> Rows:
    """One method at B1, B2, ...; an empty note names the budget alone. `fixed` has a double underscore for a point."""
    rest = {name.replace("__", "."): value for name, value in fixed.items()}
    label = f"{note}, " if note else ""
    return [(method, f"{label}B{budget}", {**rest, **point}) for budget, point in enumerate(points, 1)]


BUDGET: Rows = [
    ("head-only", "", {}),
    *_curve(
        "lora",
        {"lora.rank": 5, "lora.towers": VISION},
        {"lora.rank": 6, "lora.text_rank": 7},
        {"lora.rank": 23},
        {"lora.rank": 36},
    ),
    *_curve(
        "lora",
        {"lora.rank": 1, "lora.towers": VISION},
        {"lora.rank": 2, "lora.text_rank": 1},
        {"lora.rank": 5},
        {"lora.rank": 8},
        note="all maps",
        lora__roles=EVERY_MAP,
    ),
    *_curve("dora", {"dora.rank": 4, "dora.towers": VISION}, {"dora.rank": 6}, {"dora.rank": 22}, {"dora.rank": 35}),
    *_curve(
        "houlsby",
        {"adapter.width": 4, "adapter.towers": VISION},
        {"adapter.width": 6},
        {"adapter.width": 22},
        {"adapter.width": 35},
    ),
    *(
        row
        for method in ("pfeiffer", "adaptformer")
        for row in _curve(
            method,
            {"adapter.width": 9, "adapter.towers": VISION},
            {"adapter.width": 12},
            {"adapter.width": 45},
            {"adapter.width": 71},
            adapter__dropout=0.0,
        )
    ),
    *_curve("convpass", *({"convpass.width": h} for h in (4, 10, 31, 47)), convpass__dropout=0.0),
    *_curve(
        "repadapter",
        {"repadapter.width": 6, "repadapter.towers": VISION},
        {"repadapter.width": 8},
        {"repadapter.width": 30},
        {"repadapter.width": 48},
        repadapter__dropout=0.0,
    ),
    *_curve(
        "compacter",
        {"compacter.width": 96, "compacter.rank": 4, "compacter.towers": VISION},
        {"compacter.width": 96, "compacter.rank": 5},
        {"compacter.width": 104, "compacter.text_width": 64, "compacter.rank": None},
        {"compacter.width": 168, "compacter.text_width": 104, "compacter.rank": None},
    ),
    *_curve(
        "deep-prompts",
        {"prompts.count": 20, "prompts.towers": VISION},
        *({"prompts.count": n, "prompts.towers": BOTH} for n in (25, 90, 144)),
        prompts__depth=None,
    ),
    ("maple", "one coupling, B2", {"maple.shared": True}),
    ("maple", "B3", {"maple.depth": 4}),
    ("maple", "B4", {"maple.depth": 6}),
    *_curve(
        "detris",
        {"detris.channels": 16, "detris.text_channels": 16, "detris.embed": 8, "detris.blocks": 4},
        {"detris.channels": 16, "detris.text_channels": 16, "detris.embed": 32},
        {"detris.channels": 64, "detris.text_channels": 64, "detris.embed": 64},
        {"detris.channels": 96, "detris.text_channels": 48, "detris.embed": 128},
        detris__dropout=0.0,
    ),
    *_curve(
        "lst",
        {"lst.reduction": 32, "lst.rungs": 4},
        {"lst.reduction": 32},
        {"lst.reduction": 12},
        {"lst.rungs": 10},
        lst__towers=VISION,
    ),
    *_curve("etris", *({"bridge.dim": dim} for dim in (24, 40, 128, 184))),
    *_curve(
        "snf",
        {"snf.length": 4, "snf.towers": VISION},
        *({"snf.length": length, "snf.towers": BOTH} for length in (5, 22, 35)),
    ),
    *(row for method in ("fish", "random-mask") for row in _curve(method, *({"mask.share": s} for s in SHARES))),
    *((name, "", {}) for name in ("layernorm", "ia3", "bitfit", "layernorm-bias", "ssf")),
    ("ssf", "vision", {"ssf.towers": VISION}),
    *((name, "", {}) for name in ("no-global", "barleria", "full")),
]

WHERE: Rows = [
    ("lora", "q and v, B3", {"lora.rank": 23}),
    ("lora", "attention, B3", {"lora.rank": 11, "lora.roles": ATTENTION}),
    ("lora", "all maps, B3", {"lora.rank": 5, "lora.roles": EVERY_MAP}),
    ("houlsby", "B3", {"adapter.width": 22}),
    ("houlsby", "with norms, B3", {"adapter.width": 22, "adapter.norms": True}),
    ("pfeiffer", "B3", {"adapter.width": 45}),
    ("pfeiffer", "with norms, B3", {"adapter.width": 45, "adapter.norms": True}),
    ("adaptformer", "B3", {"adapter.width": 45, "adapter.dropout": 0.0}),
    ("lora", "vision, B2", {"lora.rank": 11, "lora.towers": VISION}),
    ("lora", "text, B2", {"lora.rank": 16, "lora.towers": ["text"]}),
    ("lora", "both towers, B2", {"lora.rank": 6, "lora.text_rank": 7}),
]

FUSION: Rows = [
    ("no-global", "", {}),
    ("lora+lim", "", {"lora.rank": 5}),
    ("adaptformer+lim", "", {"adapter.width": 10, "adapter.dropout": 0.0}),
    ("ssf+lim", "", {}),
    ("deep-prompts+lim", "", {"prompts.count": 20, "prompts.depth": None}),
]
