"""Suites hold methods that can be built, differ from each other, and are found again from reference and options."""

import pytest

from barbench.methods.build import build_segmenter
from barbench.methods.resolve import resolve
from barbench.methods.suites import SUITES
from barbench.models.towers.load import load_backbone
from barbench.spec.backbone import HeadChoice, backbone_config
from tests.models.small import inputs, small

WIDTH = 64  # of the small backbones' vision tower
DETRIS = ("detris-b", "detris-l", "detris-mixed")
"""Suites whose rows are of one backbone, which is none of the small ones."""
ROWS = {spec.name: spec for name in SUITES.names() if name not in DETRIS for spec in SUITES.get(name).methods(WIDTH)}
B1, B2, B3, B4 = 184_416, 390_656, 1_387_648, 2_205_920
# METHODS-MORE.md, section 9: adapter counts on ViT-B/16 by title, where the title names a budget.
BUDGETS = {
    "LoRA": (184_320, 393_216, 1_413_120, 2_211_840),
    "LoRA, all maps": (165_888, 442_368, 1_382_400, 2_211_840),
    "DoRA": (165_888, 399_360, 1_382_400, 2_181_120),
    "Houlsby": (165_984, 399_648, 1_383_456, 2_182_800),
    "Pfeiffer": (175_212, 384_288, 1_398_840, 2_198_184),
    "AdaptFormer": (175_212, 384_288, 1_398_840, 2_198_184),
    "ConvPass": (169_536, 409_152, 1_370_280, 2_230_440),
    "RepAdapter": (184_464, 399_744, 1_414_560, 2_244_864),
    "Compacter": (186_688, 380_224, 1_386_496, 2_224_576),
    "Deep prompts": (184_320, 384_000, 1_382_400, 2_211_840),
    "DETRIS (CLIP)": (190_320, 387_720, 1_391_520, 2_209_884),
    "LST": (178_828, 384_276, 1_389_516, 2_154_154),
    "ETRIS": (205_272, 353_384, 1_387_648, 2_239_352),
    "FISH mask": (B1, B2, B3, B4),
    "Random mask": (B1, B2, B3, B4),
    "SNF": (184_416, 368_880, 1_414_176, 2_213_520),
}


@pytest.mark.parametrize("suite", SUITES.names())
def test_rows_differ_in_name_title_and_cell(suite: str) -> None:
    for rows in (SUITES.get(suite).methods(), SUITES.get(suite).methods(WIDTH)):
        assert len({row.name for row in rows}) == len({row.title for row in rows}) == len(rows)
        assert len({(row.reference, str(row.options)) for row in rows}) == len(rows)


@pytest.mark.parametrize("name", ROWS)
def test_a_row_trains_and_is_found_again_from_its_reference_and_options(name: str) -> None:
    """What it is made of is compared; that equal parts and one seed give equal outputs, tests/contract knows."""
    row = ROWS[name]
    (found,) = resolve(row.reference)
    made, again = row.create(), found.create(row.options)
    assert made.composition() == again.composition()
    assert [c.settings for c in made.components] == [c.settings for c in again.components]
    model = build_segmenter(row, small(shallow=True), seed=1)
    logits, extra = model.train()(*inputs(batch=2))
    (logits.square().mean() + (0 if extra is None else extra)).backward()
    tuned = model.tuned_parameters()
    assert all(p.grad is not None for p in tuned.values())  # zero behind a zero start: tests/contract takes ten steps
    assert row.kind not in ("paper", "reference") or all(p.grad.any() for p in tuned.values())


def test_ablations_change_what_they_say() -> None:
    sizes = {row.name: build_segmenter(row, small()).ledger()["adapter"] for row in SUITES.get("ablations").methods()}
    assert sizes["barleria[gst.detach=false]"] == sizes["barleria"]
    assert sizes["barleria"] - sizes["barleria[gst.queries=64]"] == 64 * 144
    assert sizes["barleria[gst.modules=2]"] < sizes["barleria[gst.prior=false]"] < sizes["barleria"]
    assert sizes["no-global[lim.into=vision]"] < sizes["no-global"] == sizes["no-global[lim.every=input]"]


def test_budgets_on_vit_b_16_are_those_of_the_papers_rows() -> None:
    found: dict[str, list[int]] = {}
    backbone = load_backbone("ViT-B-16-quickgelu", "random", device="meta")
    for row in SUITES.get("pet-budget").methods():
        if row.title.endswith(("B1", "B2", "B3", "B4")) and row.options and "MaPLe" not in row.title:
            found.setdefault(row.title[:-4], []).append(build_segmenter(row, backbone).ledger()["adapter"])
    assert {title: tuple(counts) for title, counts in found.items()} == BUDGETS
    for counts in BUDGETS.values():
        assert all(abs(count / budget - 1) < 0.14 for count, budget in zip(counts, (B1, B2, B3, B4), strict=True))


@pytest.mark.parametrize("width", [64, 96, 1024])
def test_knobs_follow_the_width(width: int) -> None:
    rows = {row.title: row.options for row in SUITES.get("pet-budget").methods(width)}
    assert rows["LoRA, B4"]["lora.rank"] == round(36 * width / 768)
    assert rows["ETRIS, B4"]["bridge.dim"] % 8 == rows["DETRIS (CLIP), B2"]["detris.channels"] % 16 == 0
    assert rows["LoRA, B4"].keys() == {"lora.rank"}
    assert SUITES.get("pet-default").methods(width) == SUITES.get("pet-default").methods()


@pytest.mark.parametrize("backbone", ["tiny", "tiny-eva"])
def test_both_narrow_backbones_have_the_same_budgets(backbone: str) -> None:
    rows = {row.title: row.options for row in SUITES.get("pet-budget").methods(backbone_config(backbone).width)}
    assert rows["LoRA, B4"]["lora.rank"] == 4  # 36 on a width of 768
    assert rows["Deep prompts, B3"]["prompts.count"] == 11


B4_ROWS = {
    "Head only": 0,
    "LoRA, all maps": 2_211_840,
    "LoRA, q and v, r 36": 2_211_840,
    "Houlsby, m 35": 2_182_800,
    "AdaptFormer, m 71": 2_198_184,
    "DETRIS (CLIP), widths 96, 48, 128": 2_209_884,
    "Two-way prompts": 2_229_504,
    "CoLA (uniform), r 2": 2_169_504,
    "ETRIS, dim 184": 2_239_352,
    "BarLeRIa": B4,
    "Full fine-tuning": 149_430_016,
}
"""METHODS-3.md, sections 4 to 6, on ViT-B/16."""


def counted(backbone: str) -> dict[str, int]:
    """Adapter counts of the suite's rows for a backbone, by title."""
    config, loaded = backbone_config(backbone), load_backbone(backbone, "random", device="meta")
    counts = {}
    for row in SUITES.get("budget-b4").methods(config.width, config.aligned):
        counts[row.title] = build_segmenter(row, loaded, options=row.proportion(config)).ledger()["adapter"]
    return counts


def test_the_rows_at_barlerias_budget_are_within_two_percent_of_it() -> None:
    found = counted("ViT-B-16-quickgelu")
    assert found == B4_ROWS
    between = [count for title, count in found.items() if title not in ("Head only", "Full fine-tuning")]
    assert all(abs(count / B4 - 1) < 0.02 for count in between)


def test_on_dinov2_the_same_rows_have_the_same_counts() -> None:
    """But for BarLeRIa, whose prior needs a second map, and what is trained in full."""
    apart = {
        "BarLeRIa": ("BarLeRIa, prior in the side network's space", 2_290_736),
        "Full fine-tuning": ("Full fine-tuning", 148_919_296),
    }
    assert counted("dinov2-b") == dict(apart.get(title, (title, count)) for title, count in B4_ROWS.items())


def test_titles_say_the_sizes_that_are_built_on_a_narrow_backbone() -> None:
    found = counted("tiny")
    assert found["LoRA, q and v, r 4"] == 4 * 3_840
    assert found["ETRIS, dim 24"] > found["LoRA, q and v, r 4"]
    assert found["CoLA (uniform), r 2"] == 82_584  # its smallest: several times the budget
    assert not any("B4" in title for title in found)


@pytest.mark.parametrize(
    ("suite", "places", "levels", "tuned"),
    [
        ("detris-b", [1, 3, 5, 7, 9, 11], (4, 8), 2_715_696),
        ("detris-l", [2, 6, 10, 14, 18, 22], (8, 16), 3_110_448),
        ("detris-mixed", list(range(1, 24)), (8, 16), 33_331_360),
    ],
)
def test_detris_has_its_published_places(suite: str, places: list[int], levels: tuple[int, int], tuned: int) -> None:
    """METHODS-3.md, section 2; without the suite half of the 24 blocks of -L have an aligner."""
    chosen = SUITES.get(suite)
    (row,) = chosen.methods(backbone_config(chosen.backbones[0]).width, aligned=False)
    (neck,) = chosen.necks
    loaded = load_backbone(chosen.backbones[0], "random", device="meta", head=HeadChoice(neck))
    model = build_segmenter(row, loaded)
    assert model.ledger()["adapter"] == tuned
    assert model.vision.level_blocks == levels
    assert [int(name.split("-")[1]) for name in model.method.components[-1].aligners] == places
    assert loaded.head.neck == "detris"


def test_fusion_replaces_snf_by_about_its_size() -> None:
    sizes, backbone = {}, load_backbone("ViT-B-16-quickgelu", "random", device="meta")
    for row in SUITES.get("pet+fusion").methods():
        sizes[row.title.partition(",")[0]] = build_segmenter(row, backbone).ledger()["adapter"] - 83_264
    expected = {"No Global": 307_392, "LoRA + LIM": 307_200, "AdaptFormer + LIM": 322_800, "SSF + LIM": 342_016}
    assert sizes == {**expected, "Deep prompts + LIM": 307_200}
