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
def test_larger_and_rotary_backbones_build_with_every_method(name: str, size: int, frozen: int) -> None:
    backbone = load_backbone(name, "random", device="meta")
    assert backbone.image_size == size
    for spec in resolve("everything"):
        assert sum(build_segmenter(spec, backbone).ledger().values()) >= frozen + HEAD
    assert ledger(load_backbone(name, "random", device="meta"), "snf")["frozen"] == frozen
