"""Neck and form of the head as axes: their counts, what each reads, and every method with each."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from barbench.api import build_segmenter as build_named
from barbench.errors import UsageError
from barbench.methods.build import build_segmenter
from barbench.methods.resolve import resolve
from barbench.models.decoder import Decoder
from barbench.models.neck import Neck, PlainNeck
from barbench.models.projector import LinearReadout, Projector
from barbench.models.pyramid import PyramidNeck
from barbench.models.segmenter import Segmenter, training_loss
from barbench.models.towers.load import load_backbone
from barbench.spec.backbone import NECKS, OWN_HEAD, HeadChoice, HeadSpec, backbone_config
from tests.models.small import RESNET, RESNET_SIZE, inputs, small

FORMS = [HeadChoice(neck) for neck in NECKS] + [HeadChoice(form="linear")]
# Vision width, channels of the last level, width of the sentence, of the words, and of the head.
WIDTHS = {
    "ViT-B-16-quickgelu": (768, 512, 512, 512, 512),
    "ViT-L-14-quickgelu": (1024, 768, 768, 768, 512),
    "dinov2-b": (768, 768, 512, 512, 512),
    "dinov2-l": (1024, 1024, 512, 512, 512),
    "tiny": (96, 96, 96, 64, 32),
}
# `etris` and `detris`, `cris`, `none`; decoder, projector: METHODS-3.md, section 7.
COUNTS = {
    "ViT-B-16-quickgelu": (9_983_488, 22_503_936, 262_656, 7_899_136, 4_788_737),
    "ViT-L-14-quickgelu": (10_507_776, 24_797_696, 393_728, 8_685_568, 5_378_817),
    "dinov2-b": (10_114_560, 22_766_080, 393_728, 7_899_136, 4_788_737),
    "dinov2-l": (10_507_776, 24_797_696, 524_800, 7_899_136, 4_788_737),
    "tiny": (47_456, 118_304, 3_104, 15_200, 28_257),
}
LINEAR = {
    "ViT-B-16-quickgelu": 525_313,
    "ViT-L-14-quickgelu": 787_457,
    "dinov2-b": 656_385,
    "dinov2-l": 787_457,
    "tiny": 6_209,
}
GATES = tuple(f"neck.fusion{level}.multihead_attn." for level in (3, 4, 5))


def title(choice: HeadChoice) -> str:
    return choice.words.replace("--", "").replace(" ", "-") or "own"


def size(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def with_head(choice: HeadChoice, method: str = "head-only", kind: str = "quickgelu") -> Segmenter:
    backbone = small(kind, shallow=True)
    return build_segmenter(resolve(method)[0], replace(backbone, head=choice.of(backbone.head)))


@pytest.mark.parametrize("backbone", WIDTHS)
def test_counts_follow_the_formulas(backbone: str) -> None:
    vision, last, sentence, words, width = WIDTHS[backbone]
    channels = (vision, vision, last)
    spec = HeadSpec() if backbone != "tiny" else backbone_config("tiny").head
    with torch.device("meta"):
        necks = (
            Neck(channels, sentence, width, (4, 4)),
            Neck(channels, sentence, width, (4, 4), residual=True),
            PyramidNeck(channels, sentence, width, (4, 4)),
            PlainNeck(last, width, (4, 4)),
        )
        parts = (Decoder(spec, words, (4, 4), 17), Projector(width, sentence), LinearReadout(width, sentence))
    gated = sum(channels) * width + 6 * width  # three 1x1 convolutions with their norms
    gated += 12 * width * (width + 1) + sentence * width + width  # three gates, and the sentence's map
    gated += 3 * width**2 + 9 * (width + 2) * width + 9 * width**2 + 6 * width  # aggregation, two 3x3, their norms
    linear = last * width + width + sentence * width + width + 1
    etris, cris, none, decoder, projector = COUNTS[backbone]
    assert [size(neck) for neck in necks] == [etris, etris, cris, none]
    assert [size(part) for part in parts[:2]] == [decoder, projector]
    assert (gated, last * width + width) == (etris, none)
    assert size(necks[3]) + size(parts[2]) == linear == LINEAR[backbone]


@pytest.mark.parametrize("backbone", ["ViT-B-16-quickgelu", "ViT-L-14-quickgelu", "tiny"])
def test_whole_heads_are_booked_as_such(backbone: str) -> None:
    etris, cris, none, decoder, projector = COUNTS[backbone]
    found = {}
    for choice in FORMS:
        loaded = load_backbone(backbone, "random", device="meta", head=choice)
        found[choice] = build_segmenter(resolve("head-only")[0], loaded).ledger()["head"]
    rest = decoder + projector
    assert list(found.values()) == [etris + rest, etris + rest, cris + rest, none + rest, LINEAR[backbone]]


def test_the_method_cris_keeps_its_wide_decoder() -> None:
    """The neck of a run changes the neck alone; CRIS' decoder has MLPs of four times the width."""
    wide = build_segmenter(resolve("cris")[0], load_backbone("ViT-B-16-quickgelu", "random", device="meta"))
    assert wide.ledger()["head"] == 39_924_225
    chosen = load_backbone("ViT-B-16-quickgelu", "random", device="meta", head=HeadChoice("cris"))
    assert build_segmenter(resolve("full")[0], chosen).ledger()["head"] == 35_191_809


def levels_and_sentence(segmenter: Segmenter) -> tuple[tuple[Tensor, Tensor, Tensor], Tensor]:
    torch.manual_seed(3)
    maps = [torch.randn(2, level.width, *level.grid) for level in segmenter.vision.levels]
    return (maps[0], maps[1], maps[2]), torch.randn(2, segmenter.text.joint)


@pytest.mark.parametrize("choice", FORMS, ids=title)
def test_without_a_neck_the_first_levels_and_the_sentence_are_not_read(choice: HeadChoice) -> None:
    segmenter = with_head(choice).eval()
    (first, second, last), sentence = levels_and_sentence(segmenter)
    whole = segmenter.neck((first, second, last), sentence)
    noise = segmenter.neck((torch.randn_like(first), torch.randn_like(second), last), sentence)
    other = segmenter.neck((first, second, last), torch.randn_like(sentence))
    plain = choice.neck == "none" or choice.form == "linear"
    assert torch.equal(whole, noise) == torch.equal(whole, other) == plain
    assert not torch.equal(whole, segmenter.neck((first, second, torch.randn_like(last)), sentence))


def test_no_neck_is_one_matrix_product() -> None:
    segmenter = with_head(HeadChoice("none")).eval()
    levels, sentence = levels_and_sentence(segmenter)
    conv = segmenter.neck.f5_proj
    assert isinstance(conv, nn.Conv2d)
    expected = torch.einsum("qc,bchw->bqhw", conv.weight[:, :, 0, 0], levels[2]) + conv.bias[:, None, None]
    torch.testing.assert_close(segmenter.neck(levels, sentence), expected)


def test_the_neck_of_detris_adds_a_residual_to_that_of_etris() -> None:
    etris, detris = (with_head(HeadChoice(neck)).eval() for neck in ("etris", "detris"))
    detris.load_state_dict(etris.state_dict())
    levels, sentence = levels_and_sentence(etris)
    fused: list[Tensor] = []
    etris.neck.aggr.register_forward_hook(lambda module, given, made: fused.append(made))
    plain = etris.neck(levels, sentence)
    torch.testing.assert_close(detris.neck(levels, sentence), plain + fused[0])
    assert fused[0].abs().max() > 0.1


def test_the_linear_head_is_a_product_and_the_order_of_upsampling_does_not_matter() -> None:
    readout = LinearReadout(6, 5)
    nn.init.constant_(readout.bias, 0.7)
    x, sentence = torch.randn(2, 6, 3, 4), torch.randn(2, 5)
    fine = nn.functional.interpolate(x, scale_factor=4, mode="bilinear", align_corners=False)
    vector = sentence @ readout.txt.weight.T + readout.txt.bias
    expected = (fine * vector[:, :, None, None]).sum(1, keepdim=True) / 6**0.5 + 0.7
    torch.testing.assert_close(readout(x, sentence), expected)


@pytest.mark.parametrize("choice", [OWN_HEAD, HeadChoice("none"), HeadChoice(form="linear")], ids=title)
def test_a_linear_head_sees_the_text_through_the_sentence_alone(choice: HeadChoice) -> None:
    segmenter = with_head(choice).eval()
    words = torch.randn(2, 7, segmenter.text.width)
    query = torch.randn(2, segmenter.neck.f5_proj[0].weight.shape[1] if choice == OWN_HEAD else 32, 6, 6)
    pad = torch.zeros(2, 7, dtype=torch.bool)
    one, other = (segmenter.decoder(query, each, pad) for each in (words, words.flip(1) * 2))
    assert torch.equal(one, other) == (choice.form == "linear")


@pytest.mark.parametrize("choice", FORMS, ids=title)
def test_a_resnet_has_every_neck(choice: HeadChoice) -> None:
    """Its last level is coarser than the head's grid."""
    segmenter = with_head(choice, "full", RESNET).train()
    image, ids = inputs(size=RESNET_SIZE)
    logits = segmenter(image, ids).logits
    assert logits.shape == (3, 1, *segmenter.mask_grid)
    logits.square().mean().backward()
    assert all(p.grad is not None for n, p in segmenter.tuned_parameters().items() if n.startswith("neck."))


@pytest.mark.parametrize("choice", FORMS, ids=title)
def test_in_the_head_the_queries_and_keys_of_gates_alone_are_inert(choice: HeadChoice) -> None:
    """Every number of the head's tensors gets a gradient, but for the first two thirds of each gate's input map: an
    attention over one key does not depend on them."""
    segmenter = with_head(choice).train()
    moved = {n: torch.zeros_like(p, dtype=torch.bool) for n, p in segmenter.tuned_parameters().items()}
    optimizer = torch.optim.Adam(segmenter.tuned_parameters().values(), lr=1e-3)
    for seed in range(4):
        image, ids = inputs(4, seed)
        optimizer.zero_grad()
        training_loss(segmenter(image, ids), (image.mean(1) > 0).float()).backward()
        for name, p in segmenter.tuned_parameters().items():
            assert p.grad is not None, name
            moved[name] |= p.grad != 0
        optimizer.step()
    inert = {}
    for name, numbers in moved.items():
        # The bias of a key adds the same to every score of a query: a softmax does not see it. Rounding may.
        if not numbers.all() and not name.endswith("attn.in_proj_bias"):
            inert[name] = numbers
    expected = set()
    if choice.neck in ("etris", "detris"):
        expected = {gate + "in_proj_weight" for gate in GATES}
    assert inert.keys() == expected
    for name, numbers in inert.items():
        width = numbers.shape[1]
        bias = moved[name.replace("weight", "bias")]
        assert not numbers[: 2 * width].any()
        assert not bias[: 2 * width].any()
        assert numbers[2 * width :].all()
        assert bias[2 * width :].all()


METHODS = [spec.name for spec in resolve("everything") if spec.neck is None]
WITH_ALL = [
    pytest.param(HeadChoice("detris"), marks=pytest.mark.slow),
    pytest.param(HeadChoice("cris"), marks=pytest.mark.slow),
    HeadChoice("none"),
    HeadChoice(form="linear"),
]


@pytest.mark.parametrize("choice", WITH_ALL, ids=title)
@pytest.mark.parametrize("name", METHODS)
def test_every_method_trains_with_every_head(name: str, choice: HeadChoice) -> None:
    """`etris`: tests/contract. One step; what starts behind a zero gets its gradient in the next."""
    segmenter = with_head(choice, name).train()
    tuned = segmenter.tuned_parameters()
    optimizer = torch.optim.Adam(tuned.values(), lr=1e-2)
    before = {n: p.detach().clone() for n, p in tuned.items()}
    for seed in range(2):
        image, ids = inputs(2, seed)
        optimizer.zero_grad()
        training_loss(segmenter(image, ids), (image.mean(1) > 0).float()).backward()
        assert [n for n, p in tuned.items() if p.grad is None] == []
        optimizer.step()
    assert [n for n, p in tuned.items() if torch.equal(p, before[n])] == []


@pytest.mark.parametrize("choice", [HeadChoice("none"), HeadChoice(form="linear")], ids=title)
def test_the_ladder_has_no_map_for_a_level_that_is_not_read(choice: HeadChoice) -> None:
    whole, bare = with_head(OWN_HEAD, "lst"), with_head(choice, "lst")
    width = whole.vision.width
    of_level = (width // 8) * width + width
    assert whole.ledger()["adapter"] - bare.ledger()["adapter"] == 2 * of_level


def test_what_does_not_go_together_is_refused() -> None:
    with pytest.raises(UsageError, match="--neck cris: a linear head"):
        load_backbone("tiny", head=HeadChoice("cris", "linear"))
    with pytest.raises(UsageError, match="cris is bound to a full head with the neck cris, not --neck none"):
        build_named("cris", "tiny", neck="none")
    with pytest.raises(UsageError, match="not --head linear"):
        build_named("cris", "tiny", head="linear")
    assert isinstance(build_named("cris", "tiny", neck="cris").neck, PyramidNeck)
    shipped = build_named("head-only", "tiny", neck="detris")
    with pytest.raises(UsageError, match="ships with a trained head"):  # its tensors have the same names
        shipped.start_from_shipped_head()


def test_a_folder_may_have_a_linear_head_of_its_own() -> None:
    own = HeadSpec(neck="none", form="linear")
    assert HeadChoice(form="full").of(own) == HeadSpec(neck="none")
    assert HeadChoice("etris", "full").of(own) == HeadSpec()
    assert HeadChoice("none", "linear").changed(own) == OWN_HEAD
    with pytest.raises(UsageError, match="--head full"):
        HeadChoice("etris").of(own)
