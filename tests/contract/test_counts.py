"""The parameter ledger at the size of the paper (Table 5 prints millions), exact, on the meta device."""

import pytest

from barbench.methods.build import build_segmenter
from barbench.methods.resolve import resolve
from barbench.models.towers.base import Backbone
from barbench.models.towers.load import load_backbone
from barbench.spec.accounting import GROUPS, PRESETS, SPLIT, TOWERS, TUNED, parse_rule

HEAD, ENCODERS = 22_671_361, 149_989_376
GST_OUT = 74_240


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return load_backbone("ViT-B-16-quickgelu", "random", device="meta")


def ledger(backbone: Backbone, name: str, **options: object) -> dict[str, int]:
    return build_segmenter(resolve(name)[0], backbone, options=options).ledger()


@pytest.mark.parametrize(
    ("name", "adapter"),
    [
        ("head-only", 0),
        ("etris", 1_387_648),
        ("snf", 184_416),
        ("snf-etris", 1_572_064),
        ("no-global", 390_656),
        ("barleria", 2_205_920),
        ("snf-hadamard", 221_184),
        ("no-global-hadamard", 368_640 + 83_264),
        ("no-global-released", 307_392 + 41_760),
        ("barleria-released", 307_392 + 41_760 + 3_052_608),
    ],
)
def test_paper_methods(backbone: Backbone, name: str, adapter: int) -> None:
    head = HEAD + (GST_OUT if name.startswith("barleria") else 0)
    assert ledger(backbone, name) == {"adapter": adapter, "positional": 0, "head": head, "frozen": ENCODERS}


# EVALUATION.md, section 2, for ViT-B/16 at 416 pixels: own; its share of vision without and with the positions of 224
# pixels, of the towers without and with positions; with positions; own and head; all of them.
ACCOUNTS = {
    "etris": (1_387_648, 1.613, 1.610, 0.929, 0.925, 1_947_008, 1.298, 24_059_009, 13.823, 14.145),
    "snf": (184_416, 0.214, 0.214, 0.123, 0.123, 743_776, 0.496, 22_855_777, 13.223, 13.547),
    "snf-etris": (1_572_064, 1.827, 1.824, 1.052, 1.048, 2_131_424, 1.421, 24_243_425, 13.914, 14.235),
    "no-global": (390_656, 0.454, 0.453, 0.261, 0.260, 950_016, 0.633, 23_062_017, 13.327, 13.650),
    "barleria": (2_205_920, 2.564, 2.559, 1.476, 1.471, 2_765_280, 1.844, 24_951_521, 14.263, 14.583),
}


@pytest.fixture(scope="module")
def small_backbone() -> Backbone:
    return load_backbone("ViT-B-16-quickgelu", "random", 224, device="meta")


def account(backbone: Backbone, name: str, **options: object) -> dict[str, int]:
    return build_segmenter(resolve(name)[0], backbone, options=options).account()


def share(ledger: dict[str, int], count: str, of: str) -> float:
    found = parse_rule(count, of).share(ledger)
    assert found is not None
    return round(found, 3)


@pytest.mark.parametrize("name", ACCOUNTS)
def test_the_accounts_of_the_paper_methods(backbone: Backbone, small_backbone: Backbone, name: str) -> None:
    found = account(backbone, name)
    own, *shares, positions, positions_share, head, head_share, all_share = ACCOUNTS[name]
    assert [found[group] for group in SPLIT] == [own, 0, 0, 0]
    sizes = (found["vision"], found["vision_positions"], found["text"], found["text_positions"])
    assert sizes == (86_041_344, 519_936, 63_388_672, 39_424)
    assert shares == [
        share(found, "own", "vision-nopos"),
        share(account(small_backbone, name), "own", "vision"),
        share(found, "own", "towers-nopos"),
        share(found, "own", "towers"),
    ]
    assert parse_rule("own+head", None).parameters(found) == head
    assert share(found, "own+head", "total") == head_share
    # Positions that are frozen are none of the method's.
    assert parse_rule("own+positions", None).parameters(found) == own
    trained = account(backbone, name, positional="train")
    assert parse_rule("own+positions", None).parameters(trained) == positions
    assert share(trained, "own+positions", "towers") == positions_share
    assert share(trained, "own+positions+head", "total") == all_share


@pytest.mark.parametrize("preset", ["etris", "barleria-range", "barleria"])
def test_what_the_papers_print(backbone: Backbone, preset: str) -> None:
    printed = {"etris": ("etris", 1.613), "barleria-range": ("barleria", 2.564), "barleria": ("barleria", 1.476)}
    name, percent = printed[preset]
    found = PRESETS[preset].share(account(backbone, name))
    assert found == pytest.approx(percent, abs=5e-4)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("full", {}),
        ("barleria", {"positional": "train"}),
        ("bitfit", {}),
        ("bitfit", {"select.what": "norm+bias"}),
        ("lora", {}),
        ("pfeiffer", {}),
        ("ssf", {}),
        ("maple", {}),
    ],
)
def test_the_groups_are_a_partition(backbone: Backbone, name: str, options: dict[str, object]) -> None:
    model = build_segmenter(resolve(name)[0], backbone, options=options)
    found = model.account()
    unique = {id(p): p.numel() for p in model.parameters()}
    assert sum(found[group] for group in GROUPS) == sum(unique.values())
    assert sum(found[group] for group in SPLIT) == found["adapter"]
    assert sum(found[part] for part in TOWERS) == ENCODERS
    tuned = sum(p.numel() for p in model.tuned_parameters().values())
    assert sum(found[group] for group in TUNED) == tuned


def test_full_tuning_has_nothing_of_its_own(backbone: Backbone) -> None:
    found = account(backbone, "full")
    assert found["own"] == 0
    assert found["norms"] + found["biases"] + found["weights"] == 149_430_016
    assert min(found["norms"], found["biases"], found["weights"]) > 0


def test_a_method_of_norms_alone_has_norms_alone(backbone: Backbone) -> None:
    found = account(backbone, "bitfit", **{"select.what": "norm"})
    assert found["norms"] == found["adapter"] > 0
    biases = account(backbone, "bitfit", **{"select.what": "bias"})
    # The shifts of norms are among BitFit's biases, and are booked as norms.
    assert 2 * biases["norms"] == found["norms"]
    assert biases["biases"] == biases["adapter"] - biases["norms"] > 0
    assert (biases["weights"], biases["own"]) == (0, 0)


def test_the_accounts_of_a_resnet_leave_the_head_out() -> None:
    found = account(load_backbone("RN101", "random", device="meta"), "etris", positional="train")
    assert sum(found[part] for part in TOWERS) == 56_259_936 + 63_428_096
    assert found["own"] == 1_942_080
    assert sum(found[group] for group in SPLIT) == found["adapter"]


def test_full_books_every_encoder_parameter(backbone: Backbone) -> None:
    positions = 519_936 + 39_424
    expected = {"adapter": ENCODERS - positions, "positional": positions, "head": HEAD, "frozen": 0}
    assert ledger(backbone, "full") == expected


def test_released_settings(backbone: Backbone) -> None:
    assert ledger(backbone, "etris", **{"bridge.dim": 64, "positional": "train"}) == {
        "adapter": 598_592,
        "positional": 519_936 + 39_424,
        "head": HEAD,
        "frozen": ENCODERS - 519_936 - 39_424,
    }
    assert ledger(backbone, "snf", **{"snf.flow": "hadamard"})["adapter"] == 221_184
    assert ledger(backbone, "no-global", **{"snf.flow": "hadamard"})["adapter"] == 368_640 + 83_264


def test_head_parts(backbone: Backbone) -> None:
    model = build_segmenter(resolve("head-only")[0], backbone)
    sizes = [sum(p.numel() for p in part.parameters()) for part in (model.neck, model.decoder, model.projector)]
    assert sizes == [9_983_488, 7_899_136, 4_788_737]


@pytest.mark.parametrize(
    ("name", "size", "frozen"), [("ViT-L-14-quickgelu", 420, 428_275_968), ("EVA02-B-16", 416, 150_059_776)]
)
@pytest.mark.slow
def test_larger_and_rotary_backbones_build_with_every_method(name: str, size: int, frozen: int) -> None:
    backbone = load_backbone(name, "random", device="meta")
    assert backbone.image_size == size
    for spec in resolve("everything"):
        assert sum(build_segmenter(spec, backbone).ledger().values()) >= frozen + HEAD
    assert ledger(load_backbone(name, "random", device="meta"), "snf")["frozen"] == frozen


@pytest.mark.parametrize(
    ("name", "vision", "connect", "etris", "cris"),
    [
        ("RN50", 38_316_896, 2_099_200, 26_735_105, 42_742_785),
        ("RN101", 56_259_936, 1_049_600, 24_244_225, 40_514_049),
    ],
)
def test_resnets(name: str, vision: int, connect: int, etris: int, cris: int) -> None:
    """Counted in the public classes (kkakkkka/ETRIS cdc6d8e, DerrickWang005/CRIS.pytorch e596332) at their settings;
    `connect`, which ETRIS leaves random and CRIS books with the encoders, is head here."""
    text = {"RN50": 63_690_240, "RN101": 63_428_096}[name]
    positions, backbone = 39_424 + 102_400, load_backbone(name, "random", device="meta")
    found = ledger(backbone, "etris", positional="train")
    assert (found["adapter"], found["positional"], found["head"]) == (1_942_080, positions, etris + connect)
    assert found["frozen"] == vision + text - positions
    assert ledger(load_backbone(name, "random", device="meta"), "etris", **{"bridge.dim": 56})["adapter"] == 1_678_104
    found = ledger(load_backbone(name, "random", device="meta"), "cris")
    assert (found["adapter"] + found["positional"], found["head"]) == (vision + text, cris + connect)


# METHODS-MORE.md's table: vision, text, both towers. An option of a component chooses the towers.
FIELD: dict[str, tuple[str, dict[str, object], int, int, int]] = {
    "lora": ("lora", {}, 294_912, 196_608, 491_520),
    "lora, attention": ("lora", {"lora.roles": "q+k+v+out"}, 589_824, 393_216, 983_040),
    "lora, all": ("lora", {"lora.roles": "q+k+v+out+up+down"}, 1_327_104, 884_736, 2_211_840),
    "lora, pissa": ("lora", {"lora.init": "pissa"}, 294_912, 196_608, 491_520),
    "dora": ("dora", {}, 313_344, 208_896, 522_240),
    "dora, all": ("dora", {"dora.roles": "q+k+v+out+up+down"}, 1_410_048, 940_032, 2_350_080),
    "ia3": ("ia3", {}, 55_296, 36_864, 92_160),
    "ssf": ("ssf", {}, 205_824, 136_192, 342_016),
    "ssf, blocks": ("ssf", {"ssf.ends": False}, 202_752, 135_168, 337_920),
    "houlsby": ("adapter", {}, 2_379_264, 1_586_688, 3_965_952),
    "houlsby, norms": ("adapter", {"adapter.norms": True}, 2_419_200, 1_612_288, 4_031_488),
    "pfeiffer": ("adapter", {}, 1_779_840, 1_186_944, 2_966_784),
    "pfeiffer, 48": ("adapter", {"adapter.width": 48}, 894_528, 596_544, 1_491_072),
    "adaptformer": ("adapter", {}, 1_189_632, 793_344, 1_982_976),
    "compacter": ("compacter", {}, 57_088, 38_080, 95_104),
    "compacter, ++": ("compacter", {"compacter.places": "mlp"}, 28_576, 19_072, 47_584),
    "repadapter": ("repadapter", {}, 239_808, 159_936, 399_744),
    "vpt-shallow": ("prompts", {}, 38_400, 25_600, 64_000),
    "vpt-deep": ("prompts", {}, 460_800, 307_200, 768_000),
    "deep-prompts": ("prompts", {}, 13_824, 9_216, 23_040),
    "bitfit": ("select", {}, 102_912, 68_096, 171_008),
    "layernorm": ("select", {}, 39_936, 25_600, 65_536),
    "layernorm-bias": ("select", {}, 122_880, 80_896, 203_776),
}


@pytest.mark.parametrize("row", FIELD)
def test_the_fields_methods(backbone: Backbone, row: str) -> None:
    component, options, *expected = FIELD[row]
    name = row.partition(",")[0]
    towers = [["vision"], ["text"], ["vision", "text"]]
    found = [ledger(backbone, name, **options, **{f"{component}.towers": t})["adapter"] for t in towers]
    assert found == expected


@pytest.mark.parametrize(
    ("name", "options", "adapter"),
    [
        ("lora", {}, 491_520),
        ("dora", {}, 522_240),
        ("ia3", {}, 92_160),
        ("ssf", {}, 342_016),
        ("houlsby", {}, 3_965_952),
        ("pfeiffer", {}, 2_966_784),
        ("adaptformer", {}, 1_982_976),
        ("compacter", {}, 95_104),
        ("repadapter", {}, 399_744),
        ("vpt-shallow", {}, 38_400),
        ("vpt-deep", {}, 460_800),
        ("deep-prompts", {}, 23_040),
        ("bitfit", {}, 171_008),
        ("layernorm", {}, 65_536),
        ("layernorm-bias", {}, 203_776),
        ("fish", {}, 749_946),
        ("random-mask", {"mask.count": 184_416}, 184_416),
        ("convpass", {}, 327_552),
        ("convpass", {"convpass.places": "attn"}, 163_776),
        ("lora-all", {}, 2_211_840),
        ("two-way-prompts", {"twoway.embed": 2, "twoway.heads": 2}, 384_144),
        ("two-way-prompts", {"twoway.embed": 18, "twoway.heads": 6}, 1_368_336),
        ("two-way-prompts", {}, 2_229_504),
        ("two-way-prompts", {"twoway.embed": None}, 40_415_232),
        ("two-way-prompts", {"twoway.embed": None, "twoway.share": True}, 3_593_216),
        ("cola", {"cola.rank": 2}, 4_981_968),
        ("cola", {"cola.rank": 4}, 6_162_192),
        ("cola", {"cola.rank": 8}, 8_671_248),
        ("cola", {}, 14_283_792),
        ("cola", {"cola.towers": "vision"}, 7_140_168),
        ("cola", {"cola.towers": "text"}, 7_143_624),
        ("cola", {"cola.rank": 2, "cola.reduction": 56}, 2_169_504),
        ("maple", {}, 3_555_072),
        ("maple", {"maple.depth": 4}, 1_580_032),
        ("maple", {"maple.depth": 6}, 2_370_048),
        ("maple", {"maple.shared": True}, 403_200),
        ("lim", {}, 83_264),
        ("lst", {}, 3_585_528),
        ("lst", {"lst.towers": "vision"}, 2_525_484),
        ("lst", {"lst.towers": "text"}, 1_060_044),
        ("lst", {"lst.rungs": 9, "lst.towers": "vision"}, 1_968_489),
        # METHODS-MORE.md, section 9: what a budget takes
        ("lora", {"lora.rank": 6, "lora.text_rank": 7}, 393_216),
        ("compacter", {"compacter.width": 96, "compacter.rank": 4, "compacter.towers": "vision"}, 186_688),
        ("compacter", {"compacter.width": 96, "compacter.rank": 5}, 380_224),
        ("compacter", {"compacter.width": 104, "compacter.text_width": 64, "compacter.rank": None}, 1_386_496),
        ("compacter", {"compacter.width": 168, "compacter.text_width": 104, "compacter.rank": None}, 2_224_576),
    ],
)
def test_defaults_and_knobs(backbone: Backbone, name: str, options: dict[str, object], adapter: int) -> None:
    assert ledger(backbone, name, **options)["adapter"] == adapter
