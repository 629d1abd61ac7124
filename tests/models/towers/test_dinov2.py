"""DINOv2 beside CLIP's text tower: timm's features, three rules of positions, everyone's files, pairs of weights."""

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
from open_clip.model import CLIP
from safetensors.torch import save_file
from torch import Tensor

from barbench.benchmarks.matrix import identify_weights
from barbench.errors import DataError, MissingData, UnfitBackbone, UnknownName, UsageError
from barbench.methods.build import build_segmenter
from barbench.methods.resolve import resolve
from barbench.models.hooks import Hooks
from barbench.models.stream import Site
from barbench.models.towers.base import Backbone
from barbench.models.towers.dinov2 import DinoVision
from barbench.models.towers.load import load_backbone
from barbench.models.walk import walk
from barbench.spec.backbone import backbone_config
from tests.models.small import DINO, DINO_PLAIN, DINOS, SIZE, config, inputs, small, write_folder

PAIR = "vit_embedded_patch8_reg4_dinov2+ViT-S-32-alt"
PAIR_SIZE = 64


def vision_of(backbone: Backbone) -> DinoVision:
    assert isinstance(backbone.vision, DinoVision)
    return backbone.vision


def vision_state(kind: str = DINO, size: int = SIZE) -> dict[str, Tensor]:
    """A small DINOv2's weights under timm's names, none of them zero or one, so that no swap goes unnoticed."""
    trunk = vision_of(small(kind, image_size=size)).trunk
    make = torch.Generator().manual_seed(5)
    return {name: torch.randn(value.shape, generator=make) * 0.2 for name, value in trunk.state_dict().items()}


@pytest.mark.parametrize("kind", DINOS)
def test_features_are_timms(kind: str) -> None:
    backbone, (image, ids) = small(kind), inputs()
    vision = vision_of(backbone)
    front = 5 if kind == DINO else 1
    with torch.no_grad():
        trace = walk(vision, backbone.text, Hooks(), image, ids)
        final, maps = vision.trunk.forward_intermediates(image, indices=[1, 3])
        stream = vision.embed(image)
    assert (stream.prefix, stream.first.shape[1], stream.cls.shape[1]) == (front, front, 1)
    for ours, theirs in zip((*trace.levels[:2], trace.levels[2].flatten(2).mT), (*maps, final[:, front:]), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)


def test_a_frozen_mlp_with_exact_gelu_saves_one_tensor() -> None:
    """The widened tokens: what QuickGELU has a fused kernel for."""
    vision, width = vision_of(small(DINO)), 48
    vision.requires_grad_(False)
    frozen = {p.untyped_storage()._cdata for p in vision.parameters()}
    saved: list[Tensor] = []

    def pack(tensor: Tensor) -> Tensor:
        if tensor.untyped_storage()._cdata not in frozen:
            saved.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        vision.mlp(Site("vision", 1, "mlp"), torch.randn(2, 5, width, requires_grad=True))
    assert [tensor.shape for tensor in saved] == [(2, 5, 4 * width)]


def test_words_are_those_of_clips_text_tower() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        clip = CLIP(**config("gelu")).eval()
    backbone, (image, ids) = small(DINO), inputs()
    state = {n.removeprefix("text."): v for n, v in clip.state_dict().items() if not n.startswith("visual.")}
    backbone.text.load_state_dict(state, strict=False)
    with torch.no_grad():
        trace = walk(backbone.vision, backbone.text, Hooks(), image, ids)
        expected = clip.encode_text(F.pad(ids, (0, 24 - ids.shape[1])))
    torch.testing.assert_close(trace.sentence, expected, rtol=1e-5, atol=1e-5)
    assert trace.sentence.shape[1] != trace.levels[2].shape[1]


@pytest.mark.parametrize(
    ("kind", "rule", "antialias", "offset"),
    [
        (DINO, "hub", True, 0.0),
        (DINO_PLAIN, "hub", False, 0.1),
        (DINO, "detris", False, 0.1),
        (DINO_PLAIN, "hf", False, 0.0),
    ],
)
def test_positions_are_resampled_by_rules(tmp_path: Path, kind: str, rule: str, antialias: bool, offset: float) -> None:
    state = vision_state(kind)
    whole = {f"visual.{name}": value for name, value in state.items()}
    whole |= {f"text.{name}": value for name, value in small(kind).text.state_dict().items()}
    save_file(whole, tmp_path / "w.safetensors")
    folder = str(write_folder(tmp_path / "b", kind))
    backbone = load_backbone(folder, str(tmp_path / "w.safetensors"), 40)
    options = {} if rule == "hub" else {"dinov2.positions": rule}
    model = build_segmenter(resolve("head-only")[0], backbone, options=options)
    old = state["pos_embed"]
    first = old.shape[1] - 36
    grid = old[:, first:].mT.reshape(1, 48, 6, 6)
    if offset:
        new = F.interpolate(grid, scale_factor=(5 + offset) / 6, mode="bicubic", antialias=antialias)
    else:
        new = F.interpolate(grid, (5, 5), mode="bicubic", antialias=antialias)
    expected = torch.cat([old[:, :first], new.flatten(2).mT], 1)
    torch.testing.assert_close(vision_of(backbone).trunk.pos_embed.detach(), expected)
    assert model.vision.grid == (5, 5)
    # At the size of the file nothing is resampled.
    same = load_backbone(folder, str(tmp_path / "w.safetensors"))
    build_segmenter(resolve("head-only")[0], same, options=options)
    assert torch.equal(vision_of(same).trunk.pos_embed, old)


def authors(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The names of DINOv2's own files; with registers the class token's position is apart from it."""
    width = state["norm.weight"].shape[0]
    made = dict(state) | {"mask_token": torch.zeros(1, width)}
    if "reg_token" in made:
        made["register_tokens"] = made.pop("reg_token")
        position = torch.randn(1, 1, width) * 0.1
        made["cls_token"] = made["cls_token"] - position
        made["pos_embed"] = torch.cat([position, made["pos_embed"]], 1)
    return made


def hugging_face(state: dict[str, Tensor], files: bool) -> dict[str, Tensor]:
    """Hugging Face's names, those of files or those of modules from transformers 5 on."""
    given = authors(state)
    made = {
        "embeddings.cls_token": given["cls_token"],
        "embeddings.mask_token": given["mask_token"],
        "embeddings.position_embeddings": given["pos_embed"],
        "embeddings.patch_embeddings.projection.weight": given["patch_embed.proj.weight"],
        "embeddings.patch_embeddings.projection.bias": given["patch_embed.proj.bias"],
        "layernorm.weight": given["norm.weight"],
        "layernorm.bias": given["norm.bias"],
    }
    if "register_tokens" in given:
        made["embeddings.register_tokens"] = given["register_tokens"]
    q, k, v, out = ("q_proj", "k_proj", "v_proj", "o_proj")
    if files:
        q, k, v, out = ("attention.query", "attention.key", "attention.value", "output.dense")
    for block in range(sum(name.endswith("qkv.bias") for name in given)):
        ours, theirs = f"blocks.{block}", f"encoder.layer.{block}"
        for kind in ("weight", "bias"):
            for name, part in zip((v, k, q), reversed(given[f"{ours}.attn.qkv.{kind}"].chunk(3)), strict=True):
                made[f"{theirs}.attention.{name}.{kind}"] = part.contiguous()
            made[f"{theirs}.attention.{out}.{kind}"] = given[f"{ours}.attn.proj.{kind}"]
            for name in ("norm1", "norm2", "mlp.fc1", "mlp.fc2"):
                made[f"{theirs}.{name}.{kind}"] = given[f"{ours}.{name}.{kind}"]
        for number in (1, 2):
            made[f"{theirs}.layer_scale{number}.lambda1"] = given[f"{ours}.ls{number}.gamma"]
    return made


LAYOUTS = {
    "timm": dict,
    "authors": authors,
    "hugging-face-files": lambda state: hugging_face(state, files=True),
    "hugging-face-5": lambda state: hugging_face(state, files=False),
    "hugging-face-inside": lambda state: {f"dinov2.{n}": v for n, v in hugging_face(state, files=True).items()},
}


def loaded(tmp_path: Path, state: dict[str, Tensor], kind: str, size: int = SIZE) -> DinoVision:
    """The vision tower with a file's weights, as the first of a pair."""
    from barbench.models.towers import dinov2

    file = tmp_path / "vision.pth"
    torch.save(state, file)
    chosen = backbone_config(str(write_folder(tmp_path / "b", kind)))
    model = dinov2.BUILDER.build(chosen, size)
    found = dinov2.BUILDER.part_maps["vision"](torch.load(file, weights_only=True), file, chosen)
    found |= {n: v for n, v in model.state_dict().items() if n.startswith("text.")}
    dinov2.BUILDER.fill(model, found, str(file), True)
    vision = dinov2.BUILDER.wrap(model, size, True).vision
    assert isinstance(vision, DinoVision)
    return vision


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", DINOS)
def test_every_layout_gives_the_same_tower(tmp_path: Path, kind: str, layout: str) -> None:
    state = vision_state(kind)
    vision = loaded(tmp_path, LAYOUTS[layout](state), kind)
    found = vision.trunk.state_dict()
    assert found.keys() == state.keys()
    for name, value in state.items():
        torch.testing.assert_close(found[name], value, rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", DINOS)
def test_features_are_hugging_faces(tmp_path: Path, kind: str) -> None:
    """A file of their model's state dict, and their own forward pass at its size."""
    library = pytest.importorskip("transformers")
    name = "Dinov2WithRegisters" if kind == DINO else "Dinov2"
    sizes = {"hidden_size": 48, "num_hidden_layers": 6, "num_attention_heads": 3, "image_size": SIZE, "patch_size": 8}
    torch.manual_seed(0)
    model = getattr(library, f"{name}Model")(getattr(library, f"{name}Config")(**sizes)).eval()
    for p in model.parameters():
        p.data.normal_(std=0.2)
    vision, (image, _) = loaded(tmp_path, dict(model.state_dict()), kind), inputs()
    with torch.no_grad():
        stream = vision.embed(image)
        theirs = model(image).last_hidden_state
        ours = vision.trunk.forward_features(image)
    assert stream.tokens.shape == theirs.shape
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("name", "trunk"), [("dinov2-b", "base_patch14_reg4"), ("dinov2-b-noreg", "base_patch14")])
def test_features_are_timms_at_full_size(tmp_path: Path, name: str, trunk: str, layout: str) -> None:
    """ViT-B/14 with positions of 518 pixels, at 448: the resampling of timm is that of models with registers."""
    theirs = timm.create_model(f"vit_{trunk}_dinov2", num_classes=0).eval()
    make = torch.Generator().manual_seed(5)
    for key, p in theirs.named_parameters():
        p.data.normal_(std=0.03, generator=make)
        if key.endswith(".gamma"):
            p.data.uniform_(0.1, 1, generator=make)
    torch.save(LAYOUTS[layout](theirs.state_dict()), tmp_path / "vision.pth")
    size = 448 if name == "dinov2-b" else 518
    theirs.set_input_size((size, size))
    backbone = load_backbone(name, f"{tmp_path / 'vision.pth'},random", size)
    image = torch.randn(1, 3, size, size, generator=make)
    ids = torch.tensor([[49406, 320, 49407]])
    with torch.no_grad():
        ours = walk(backbone.vision, backbone.text, Hooks(), image, ids).levels[2].flatten(2).mT
        expected = theirs.forward_features(image)[:, theirs.num_prefix_tokens :]
    error = float((ours - expected).abs().max() / expected.abs().max())
    print(name, layout, error)
    assert error <= (0 if layout == "timm" else 1e-6)


@pytest.mark.parametrize(("file_kind", "kind"), [(DINO, DINO_PLAIN), (DINO_PLAIN, DINO)])
@pytest.mark.parametrize("layout", ["timm", "authors", "hugging-face-files"])
def test_registers_that_a_model_does_not_have_are_refused_by_name(
    tmp_path: Path, file_kind: str, kind: str, layout: str
) -> None:
    says = "with registers" if file_kind == DINO else "without registers"
    with pytest.raises(DataError, match=rf"vision\.pth holds DINOv2 {says}.*use a backbone of {DINOS[file_kind]}"):
        loaded(tmp_path, LAYOUTS[layout](vision_state(file_kind)), kind)


def test_another_model_and_a_part_that_lacks_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"vision\.pth holds no weights of DINOv2"):
        loaded(tmp_path, {"visual.conv1.weight": torch.ones(1)}, DINO)
    state = authors(vision_state())
    del state["blocks.3.attn.qkv.bias"]
    with pytest.raises(DataError, match=r"1 parameters are absent, the first is visual\.blocks\.3\.attn\.qkv\.bias"):
        loaded(tmp_path, state, DINO)
    state = vision_state() | {"pos_embed": torch.zeros(1, 35, 48)}
    with pytest.raises(DataError, match="not those of a square grid"):
        loaded(tmp_path, state, DINO)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Weights of both models of PAIR: of vision by its authors' names, of text as a whole CLIP."""
    folder = tmp_path_factory.mktemp("pair")
    state = vision_of(load_backbone("tiny-dino", "random")).trunk.state_dict()
    make = torch.Generator().manual_seed(5)
    state = {name: torch.randn(value.shape, generator=make) * 0.2 for name, value in state.items()}
    made = dict(state) | {"register_tokens": state["reg_token"], "mask_token": torch.zeros(1, 96)}
    del made["reg_token"]
    made["pos_embed"] = torch.cat([torch.zeros(1, 1, 96), state["pos_embed"]], 1)
    torch.save(made, folder / "vision.pth")
    torch.manual_seed(6)
    clip = CLIP(**backbone_config("ViT-S-32-alt").model)
    save_file({n: v.half() for n, v in clip.state_dict().items()}, folder / "clip.safetensors")
    return folder / "vision.pth", folder / "clip.safetensors"


def test_a_pair_of_models_has_a_pair_of_weights(files: tuple[Path, Path]) -> None:
    vision, text = files
    both = load_backbone(PAIR, f"{vision},{text}", PAIR_SIZE)
    assert (both.vision.width, both.text.width, both.text.joint, both.aligned) == (96, 256, 256, False)
    half = load_backbone(PAIR, f"{vision},random", PAIR_SIZE)
    other = load_backbone(PAIR, "random", PAIR_SIZE)
    mark = "trunk.blocks.2.attn.qkv.weight"
    assert torch.equal(both.vision.state_dict()[mark], half.vision.state_dict()[mark])
    assert not torch.equal(both.vision.state_dict()[mark], other.vision.state_dict()[mark])
    mark = "transformer.resblocks.2.attn.in_proj_weight"
    assert torch.equal(half.text.state_dict()[mark], other.text.state_dict()[mark])
    assert not torch.equal(half.text.state_dict()[mark], both.text.state_dict()[mark])
    # In a record: each file by its name and hash.
    name, place = identify_weights(PAIR, f"{vision},{text}")
    assert [part.partition("@")[0] for part in name.split(",")] == ["vision.pth", "clip.safetensors"]
    assert place == f"{vision},{text}"
    name, place = identify_weights(PAIR, f"{vision},random")
    assert (name.partition("@")[0], name.partition(",")[2], place) == ("vision.pth", "random", f"{vision},random")
    assert identify_weights("dinov2-b", "random") == ("random", None)
    assert identify_weights("dinov2-b", None) == ("lvd142m,openai", None)


@pytest.mark.parametrize(
    ("weights", "error", "message"),
    [
        ("lvd142m", UsageError, r"needs two, VISION,TEXT.*as in lvd142m,openai"),
        ("nowhere/a.pth,random", MissingData, "nowhere/a.pth"),
        ("lvd,openai", UnknownName, "weights of vit_base_patch14_reg4_dinov2.*lvd142m"),
        ("random,openia", UnknownName, "weights of ViT-B-16-quickgelu.*openai"),
    ],
)
def test_wrong_pairs_of_weights_are_explained(weights: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        load_backbone("dinov2-b", weights)


def test_weights_that_were_never_downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("barbench.models.towers.weights.try_to_load_from_cache", lambda *_: None)
    with pytest.raises(MissingData, match=r"timm's cache .*vit_base_patch14_reg4_dinov2\.lvd142m"):
        load_backbone("dinov2-b")
    load_backbone("dinov2-b", device="meta")  # shapes need no weights


def test_names_and_sizes_are_known_without_weights() -> None:
    for name, size in (("dinov2-b", 448), ("dinov2-l-noreg", 448), (PAIR, 448), ("tiny-dino", 64)):
        known = backbone_config(name)
        assert known.image_size(None) == size
        assert not known.aligned
    with pytest.raises(UsageError, match="use 420"):
        backbone_config("dinov2-b").image_size(416)
    with pytest.raises(UsageError, match="giant"):
        backbone_config("vit_giant_patch14_reg4_dinov2+ViT-B-16")
    with pytest.raises(UnknownName, match="vit_base_patch14_reg4_dinov2"):
        backbone_config("vit_bose_patch14_reg4_dinov2+ViT-B-16")
    with pytest.raises(UnknownName, match="ViT-B-16"):
        backbone_config("vit_base_patch14_reg4_dinov2+ViT-B-61")
    with pytest.raises(UsageError, match="Hugging Face text tower"):
        backbone_config("vit_base_patch14_reg4_dinov2+roberta-ViT-B-32")
    with pytest.raises(UsageError, match="say which weights"):
        backbone_config("vit_base_patch14_reg4_dinov2+ViT-B-16").default_weights()


def test_lim_inserts_one_guest_and_no_register() -> None:
    """A tower with registers has five prefix tokens, of which one is the class token."""
    backbone = small(DINO)
    lim = resolve("lim")[0].create().components[0]
    assert isinstance(lim, Hooks)
    lim.attach(backbone)
    image, ids = inputs()
    vision, text = backbone.vision.embed(image), backbone.text.embed(ids)
    from barbench.models.stream import Step

    seen, heard = lim.before_block(Step(0, 0, 0), vision, text, {})
    assert heard.inserted == (("LIM", 1),)
    assert torch.equal(heard.tokens[:, :1], lim.to_text(vision.tokens[:, :1]))
    assert seen.inserted == (("LIM", ids.shape[1]),)
    assert torch.equal(seen.first, vision.first)


@pytest.mark.parametrize("name", ["tiny-dino", "dinov2-b", "dinov2-l"])
def test_barleria_needs_a_joint_space_or_a_way_out(name: str) -> None:
    """Equal widths are no joint space: tiny-dino has 96 channels in both towers."""
    (spec,) = resolve("barleria")
    with pytest.raises(UnfitBackbone, match=rf"GST cannot be used on {name}: .*gst\.prior=false.*gst\.space=side"):
        spec.create_for(name)
    for options in ({"gst.prior": False}, {"gst.space": "side"}):
        spec.create_for(name, options)


@pytest.mark.parametrize("options", [{"gst.prior": False}, {"gst.space": "side"}])
def test_barlerias_ways_out_train(options: dict[str, Any]) -> None:
    model = build_segmenter(resolve("barleria")[0], small(DINO, shallow=True), options=options).train()
    tuned = model.tuned_parameters()
    optimizer, moved = torch.optim.Adam(tuned.values(), lr=1e-2), set[str]()
    for step in range(4):
        optimizer.zero_grad()
        model(*inputs(seed=step)).logits.square().mean().backward()
        moved |= {n for n, p in tuned.items() if p.grad is not None and p.grad.any()}
        optimizer.step()
    assert moved == set(tuned)


def test_the_prior_of_the_side_space_is_equation_4_there() -> None:
    backbone = small(DINO)
    gst = resolve("barleria")[0].create({"gst.space": "side", "gst.queries": 3}).components[2]
    gst.attach(backbone)
    image, ids = inputs()
    with torch.no_grad():
        trace = walk(backbone.vision, backbone.text, Hooks(), image, ids)
        prior = gst._prior(trace)
        words = trace.joint @ gst.words.weight.T + gst.words.bias
        patches = trace.levels[2].flatten(2).mT @ gst.patches.weight.T + gst.patches.bias
        sentence = trace.sentence @ gst.words.weight.T + gst.words.bias
        both = torch.cat([words, patches], 1)
        cosine = (both * sentence[:, None]).sum(-1) / (both.norm(dim=-1) * sentence.norm(dim=-1)[:, None])
    assert not prior[:, :3].any()
    torch.testing.assert_close(prior[:, 3:], cosine[..., None] * both, rtol=1e-4, atol=1e-5)


def test_options_of_dinov2_are_refused_elsewhere_and_where_they_cannot_be() -> None:
    (spec,) = resolve("head-only")
    with pytest.raises(UnfitBackbone, match="vision tower of tiny is not DINOv2's"):
        spec.create_for("tiny", {"dinov2.positions": "detris"})
    with pytest.raises(UsageError, match="two blocks in order"):
        spec.create({"dinov2.levels": "8+4"})
    with pytest.raises(UnfitBackbone, match="before the last of the 6 blocks"):
        spec.create_for("tiny-dino", {"dinov2.levels": "2+5"})


def test_levels_are_taken_after_the_blocks_that_are_asked_for() -> None:
    backbone, (image, ids) = small(DINO), inputs()
    model = build_segmenter(resolve("head-only")[0], backbone, options={"dinov2.levels": "2+4"})
    with torch.no_grad():
        trace = walk(model.vision, model.text, model.method, image, ids)
        final, maps = vision_of(backbone).trunk.forward_intermediates(image, indices=[2, 4])
    for ours, theirs in zip(trace.levels, maps, strict=False):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)
    torch.testing.assert_close(trace.levels[2].flatten(2).mT, final[:, 5:], rtol=0, atol=1e-6)


COUNTS = {
    "dinov2-b": {
        "layernorm": 64_000,
        "layernorm-bias": 203_008,
        "ssf": 340_480,
        "fish": 748_725,
        "random-mask": 748_725,
        "barleria-released": 3_425_952,
        "full": 148_919_296,
        "bitfit": 171_008,
        "etris": 1_387_648,
        "detris": 2_715_696,
    },
    "dinov2-l": {
        "etris": 1_585_792,
        "lora": 983_040,
        "houlsby": 7_930_368,
        "layernorm-bias": 403_456,
        "bitfit": 340_480,
        "no-global": 714_592,
        "detris": 5_802_576,
    },
}


@pytest.mark.parametrize(
    ("name", "head", "encoders"), [("dinov2-b", 22_802_433, 149_745_152), ("dinov2-l", 23_195_649, 367_445_504)]
)
def test_counts_at_full_size(name: str, head: int, encoders: int) -> None:
    backbone = load_backbone(name, "random", device="meta")
    for method, adapter in COUNTS[name].items():
        ledger = build_segmenter(resolve(method)[0], backbone).ledger()
        assert ledger["adapter"] == adapter, method
        side = 74_240 if method == "barleria-released" else 0
        assert ledger["head"] == head + side
    frozen = build_segmenter(resolve("head-only")[0], backbone).ledger()
    assert frozen == {"adapter": 0, "positional": 0, "head": head, "frozen": encoders}


@pytest.mark.parametrize(
    ("options", "adapter"), [({"gst.prior": False}, 2_013_536), ({"gst.space": "side"}, 2_290_736)]
)
def test_counts_of_barlerias_ways_out(options: dict[str, Any], adapter: int) -> None:
    backbone = load_backbone("dinov2-b", "random", device="meta")
    assert build_segmenter(resolve("barleria")[0], backbone, options=options).ledger()["adapter"] == adapter
