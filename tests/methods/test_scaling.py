"""Options in proportion to a narrow backbone: the counts of every method, and options that the user gave."""

from functools import cache
from typing import Any

import pytest

from barbench.methods.base import Component
from barbench.methods.build import build_segmenter
from barbench.methods.catalog import METHODS
from barbench.methods.resolve import resolve
from barbench.methods.scaling import Alpha
from barbench.methods.suites import SUITES
from barbench.models.towers.base import Backbone
from barbench.models.towers.load import load_backbone
from barbench.spec.backbone import backbone_config

BACKBONES = ("tiny", "tiny-eva", "tiny-l")
SHIPPED = [spec for spec in METHODS if spec.build.__module__ == "barbench.methods.catalog"]
# Adapter parameters on tiny, tiny-eva and tiny-l, counted apart from this code.
COUNTS = {
    "etris": (22_928, 22_928, 22_928),
    "snf": (4_620, 4_620, 9_240),
    "snf-etris": (27_548, 27_548, 32_168),
    "no-global": (9_152, 9_152, 13_772),
    "barleria": (24_768, 24_768, 40_108),
    "snf-hadamard": (3_456, 3_456, 6_912),
    "no-global-hadamard": (7_208, 7_208, 10_664),
    "no-global-released": (8_444, 8_444, 13_064),
    "barleria-released": (43_152, 43_152, 66_852),
    "lora": (3_840, 3_840, 6_144),
    "lora-all": (17_280, 17_856, 27_648),
    "two-way-prompts": (18_384, 18_384, 26_712),
    "cola": (102_528, 96_384, 123_264),
    "dora": (5_760, 5_760, 9_216),
    "ia3": (5_760, 4_992, 9_216),
    "ssf": (21_632, 22_976, 34_304),
    "houlsby": (32_832, 32_832, 52_512),
    "pfeiffer": (24_144, 24_144, 38_616),
    "adaptformer": (16_416, 16_416, 26_256),
    "compacter": (6_112, 6_112, 9_712),
    "repadapter": (7_728, 7_728, 12_360),
    "convpass": (3_588, 3_588, 7_176),
    "vpt-shallow": (576, 576, 576),
    "vpt-deep": (3_456, 3_456, 6_912),
    "deep-prompts": (640, 640, 1_248),
    "maple": (25_216, 25_216, 37_824),
    "bitfit": (10_816, 13_216, 17_152),
    "fish": (5_345, 5_367, 8_700),
    "random-mask": (5_345, 5_367, 8_700),
    "lim": (1_448, 1_448, 1_448),
    "detris": (25_860, 25_860, 44_538),
    "lst": (32_696, 32_696, 50_990),
    "head-only": (0, 0, 0),
}
# Nothing of these shrinks: the same counts as without proportion.
UNCHANGED = {"layernorm", "layernorm-bias", "full", "cris", "ia3", "ssf", "bitfit", "compacter", "lst", "fish"}


@cache
def on_meta(backbone: str) -> Backbone:
    return load_backbone(backbone, "random", device="meta")


def adapter(name: str, backbone: str, options: dict[str, Any]) -> int:
    return build_segmenter(resolve(name)[0], on_meta(backbone), options=options).ledger()["adapter"]


def scaled(name: str, backbone: str = "tiny", **given: Any) -> dict[str, Any]:
    options = {key.replace("__", "."): value for key, value in given.items()}
    return resolve(name)[0].proportion(backbone_config(backbone), options)


def test_every_method_has_a_count() -> None:
    assert {spec.name for spec in SHIPPED} == COUNTS.keys() | UNCHANGED


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("name", COUNTS)
def test_counts_on_the_embedded_backbones(name: str, backbone: str) -> None:
    expected = COUNTS[name][BACKBONES.index(backbone)]
    assert adapter(name, backbone, scaled(name, backbone)) == expected


@pytest.mark.parametrize("name", sorted(UNCHANGED))
def test_vectors_and_shares_do_not_shrink(name: str) -> None:
    assert all(scaled(name, backbone) == {} for backbone in BACKBONES)


@pytest.mark.parametrize("spec", SHIPPED, ids=lambda spec: spec.name)
def test_rules_name_options_of_the_method_with_the_values_that_it_has(spec: Any) -> None:
    settings: dict[str, Any] = {}
    for component in spec.create().components:
        assert isinstance(component, Component)
        settings.update(component.settings)
    # The bridge's None depends on the kind of vision tower; on a transformer its constructor documents these.
    bridge = {"bridge.dim": 128, "bridge.heads": 8}
    for option, rule in spec.rules.items():
        value = settings[option]
        assert (bridge[option] if option in bridge and value is None else value) == rule.published


@pytest.mark.parametrize("backbone", ["ViT-B-16-quickgelu", "EVA02-B-16", "ViT-L-14-quickgelu", "RN50-quickgelu"])
def test_nothing_changes_on_a_published_width(backbone: str) -> None:
    for spec in SHIPPED:
        assert spec.proportion(backbone_config(backbone)) == {}
        assert spec.proportion(backbone_config(backbone), {"positional": "train"}) == {"positional": "train"}


def test_the_options_of_the_table() -> None:
    assert scaled("barleria") == {
        "snf.length": 1,
        "lim.hidden": 4,
        "gst.side": 16,
        "gst.heads": 1,
        "gst.queries": 16,
        "gst.modules": 2,
    }
    assert scaled("barleria", "tiny-l")["gst.modules"] == 4
    assert scaled("lora") == {"lora.rank": 1, "lora.alpha": 1}
    assert scaled("detris") == {
        "detris.channels": 16,
        "detris.text_channels": 16,
        "detris.embed": 16,
        "detris.heads": 1,
    }


def test_an_option_that_the_user_gave_stays() -> None:
    for spec in SHIPPED:
        whole = {name: rule.published for name, rule in spec.rules.items() if not isinstance(rule, Alpha)}
        assert spec.proportion(backbone_config("tiny"), whole).items() >= whole.items()


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("lora", {"lora.rank": 4}, {"lora.alpha": 4}),
        ("lora", {"lora.alpha": 16.0}, {"lora.rank": 1}),
        ("barleria", {"gst.heads": 6}, {"gst.side": 24}),
        ("barleria", {"gst.side": 144}, {"gst.heads": 6}),
        ("barleria", {"gst.side": 40}, {"gst.heads": 2}),
        ("etris", {"bridge.dim": None}, {"bridge.heads": 8}),
        ("detris", {"detris.heads": 3}, {"detris.embed": 24}),
        ("repadapter", {"repadapter.groups": 4}, {"repadapter.width": 4}),
    ],
)
def test_what_follows_a_given_option_is_legal(name: str, given: dict[str, Any], expected: dict[str, Any]) -> None:
    options = resolve(name)[0].proportion(backbone_config("tiny"), given)
    assert options.items() >= (given | expected).items()
    assert adapter(name, "tiny", options) > 0


@pytest.mark.parametrize("value", ["many", 0, -6, None, 1.5])
@pytest.mark.parametrize("option", ["barleria:gst.side", "barleria:gst.heads", "lora:lora.rank", "detris:detris.heads"])
def test_values_that_are_no_sizes_are_left_for_the_component_to_refuse(option: str, value: object) -> None:
    name, _, parameter = option.partition(":")
    assert resolve(name)[0].proportion(backbone_config("tiny"), {parameter: value})[parameter] == value


def test_a_row_of_a_suite_and_a_composition_have_their_methods_rules() -> None:
    config = backbone_config("tiny")
    assert resolve("lora+lim")[0].proportion(config) == {"lora.rank": 1, "lora.alpha": 1, "lim.hidden": 4}
    rows = {row.name: row for row in SUITES.get("ablations").methods()}
    options = rows["barleria[gst.modules=2]"].proportion(config)
    assert "gst.modules" not in options  # the row's own
    assert options["gst.side"] == 16
