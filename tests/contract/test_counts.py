"""The parameter ledger at the size of the paper (Table 5 prints millions), exact, on the meta device."""

import pytest

from barbench.methods.build import build_segmenter
from barbench.methods.resolve import resolve
from barbench.models.towers.base import Backbone
from barbench.models.towers.load import load_backbone

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
