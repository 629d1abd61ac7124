"""Backbones by name and folder, their weights, and the messages where they do not fit."""

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from open_clip.model import CLIP
from safetensors.torch import save_file
from torch import nn

from barbench.errors import DataError, MissingData, UnknownName, UsageError
from barbench.models.towers.load import BUILDERS, load_backbone
from barbench.spec.backbone import (
    CLIP_NORMALIZATION,
    EMBEDDED,
    FAMILIES,
    HeadSpec,
    Normalization,
    backbone_config,
    backbone_names,
)
from tests.models.small import HEAD, config, inputs, small, write_folder


def weights(kind: str = "gelu") -> dict[str, torch.Tensor]:
    """A CLIP's random weights by open_clip's names, in half precision."""
    torch.manual_seed(5)
    return {name: value.half() for name, value in CLIP(**config(kind)).state_dict().items()}


def test_folder_with_half_precision_weights(tmp_path: Path) -> None:
    folder, state = write_folder(tmp_path), weights()
    save_file(state, folder / "open_clip_model.safetensors")
    assert backbone_config(str(folder)).default_weights() == "pretrained"
    backbone = load_backbone(str(folder))
    assert backbone.weights == "pretrained"
    assert backbone.head == HeadSpec(**HEAD)
    assert backbone.image_size == 48
    assert backbone.tokenizer(["a red circle"], 9).shape == (1, 9)
    loaded = backbone.vision.visual.transformer.resblocks[2].mlp.c_fc.weight
    assert loaded.dtype == torch.float32
    assert torch.equal(loaded, state["visual.transformer.resblocks.2.mlp.c_fc.weight"].float())
    assert torch.equal(backbone.text.token_embedding.weight, state["token_embedding.weight"].float())
    assert not any(p.requires_grad for tower in (backbone.vision, backbone.text) for p in tower.parameters())


def test_weights_are_loaded_strictly(tmp_path: Path) -> None:
    folder, state = write_folder(tmp_path), weights()
    del state["ln_final.weight"]
    save_file(state, folder / "open_clip_model.safetensors")
    with pytest.raises(DataError, match=r"ln_final\.weight"):
        load_backbone(str(folder))
    (folder / "open_clip_model.safetensors").write_bytes(b"nothing")
    with pytest.raises(DataError, match="cannot read weights"):
        load_backbone(str(folder))


@pytest.mark.parametrize("antialias", [True, False])
def test_positions_are_resized(tmp_path: Path, antialias: bool) -> None:
    state = weights()
    save_file(state, tmp_path / "w.safetensors")
    folder = write_folder(tmp_path / "b")
    backbone = load_backbone(str(folder), str(tmp_path / "w.safetensors"), 32, antialias=antialias)
    old = state["visual.positional_embedding"].float()
    grid = F.interpolate(old[1:].T.reshape(1, 64, 6, 6), (4, 4), mode="bicubic", antialias=antialias)
    expected = torch.cat([old[:1], grid[0].flatten(1).T])
    torch.testing.assert_close(backbone.vision.visual.positional_embedding.detach(), expected)
    assert backbone.vision.grid == (4, 4)


@pytest.mark.parametrize("antialias", [True, False])
def test_eva_positions_are_resized_as_open_clip_does(tmp_path: Path, antialias: bool) -> None:
    folder = write_folder(tmp_path, "eva")
    same, larger = (load_backbone(str(folder), "random", size, antialias=antialias) for size in (48, 64))
    assert (same.vision.grid, larger.vision.grid) == ((6, 6), (8, 8))
    old = same.vision.visual.trunk.pos_embed.detach()
    grid = F.interpolate(old[:, 1:].mT.reshape(1, 48, 6, 6), (8, 8), mode="bicubic", antialias=antialias)
    expected = torch.cat([old[:, :1], grid.flatten(2).mT], 1)
    torch.testing.assert_close(larger.vision.visual.trunk.pos_embed.detach(), expected)
    if antialias:
        same.vision.visual.set_input_size(64)
        image = torch.randn(1, 3, 64, 64)
        trunks = [b.vision.visual.trunk.forward_features(image) for b in (same, larger)]
        torch.testing.assert_close(*trunks)


class Node(nn.Module):
    """A tree of modules that holds `state` under its dotted names, to be scripted."""

    def __init__(self, state: dict[str, torch.Tensor]) -> None:
        super().__init__()
        children: dict[str, dict[str, torch.Tensor]] = {}
        for name, value in state.items():
            head, dot, tail = name.partition(".")
            if dot:
                children.setdefault(head, {})[tail] = value
            else:
                self.register_buffer(head, value)
        for name, below in children.items():
            self.add_module(name, Node(below))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_openais_torchscript_archive_is_read_and_needs_quickgelu(tmp_path: Path) -> None:
    state = weights()
    extras = {name: torch.tensor(1) for name in ("input_resolution", "context_length", "vocab_size")}
    torch.jit.save(torch.jit.script(Node(state | extras)), tmp_path / "openai.pt")
    quick, plain = write_folder(tmp_path / "q", "quickgelu"), write_folder(tmp_path / "p")
    loaded = load_backbone(str(quick), str(tmp_path / "openai.pt"))
    assert torch.equal(loaded.vision.visual.conv1.weight, state["visual.conv1.weight"].float())
    with pytest.raises(UsageError, match="QuickGELU"):
        load_backbone(str(plain), str(tmp_path / "openai.pt"))


def test_random_weights_are_a_function_of_the_seed() -> None:
    torch.manual_seed(1)
    first, second, other = small(seed=3), small(seed=3), small(seed=4)
    drawn = torch.rand(1)
    torch.manual_seed(1)
    assert torch.equal(drawn, torch.rand(1))  # loading leaves the caller's generator alone
    a, b, c = (m.vision.visual.conv1.weight for m in (first, second, other))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
    with torch.no_grad():
        assert torch.equal(first.vision.embed(inputs()[0]).tokens, second.vision.embed(inputs()[0]).tokens)


def test_unknown_backbones_and_weights_are_explained(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="ViT-B-16"):
        load_backbone("ViT-B-61")
    with pytest.raises(UsageError, match="timm vision tower other than EVA02"):
        load_backbone("ViT-B-16-SigLIP")
    with pytest.raises(UsageError, match="pre-norm"):
        load_backbone("EVA02-E-14")
    with pytest.raises(UsageError, match="RN50 takes"):
        load_backbone("RN50")
    with pytest.raises(UnknownName, match="openai"):
        load_backbone("ViT-B-16-quickgelu", "openia")
    with pytest.raises(UsageError, match="ViT-B-16-quickgelu"):
        load_backbone("ViT-B-16", "openai")
    with pytest.raises(MissingData, match="does not exist"):
        load_backbone(str(write_folder(tmp_path)))


def test_weights_that_were_never_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    monkeypatch.setattr("barbench.models.towers.weights.try_to_load_from_cache", lambda *_: None)
    with pytest.raises(MissingData, match="cache does not hold them"):
        load_backbone("ViT-B-16-quickgelu", "openai")
    load_backbone("ViT-B-16-quickgelu", "openai", device="meta")  # shapes need no weights


def test_image_sizes() -> None:
    assert backbone_config("ViT-B-16-quickgelu").image_size(None) == 416
    assert backbone_config("ViT-L-14-quickgelu").image_size(None) == 420
    assert backbone_config("ViT-B-32-quickgelu").image_size(None) == 416
    assert backbone_config("EVA02-B-16").image_size(None) == 416
    assert backbone_config("EVA02-L-14").image_size(None) == 420
    with pytest.raises(UsageError, match="use 420"):
        backbone_config("ViT-L-14-quickgelu").image_size(416)


def test_names_list_what_is_supported() -> None:
    names = backbone_names()
    assert {"ViT-B-16-quickgelu", "ViT-L-14-quickgelu", "ViT-B-32", "EVA02-B-16", "EVA02-L-14"} <= set(names)
    assert {"RN50", "RN101-quickgelu"} <= set(names)
    assert not {"EVA02-E-14", "EVA01-g-14", "coca_ViT-B-32", "ViT-B-16-SigLIP"} & set(names)


def test_broken_folders_are_named(tmp_path: Path) -> None:
    folder = write_folder(tmp_path)
    (folder / "barbench.json").write_text(json.dumps({"widht": 3}))
    with pytest.raises(DataError, match="widht"):
        backbone_config(str(folder))
    (folder / "open_clip_config.json").write_text("{")
    with pytest.raises(DataError, match="open_clip_config"):
        backbone_config(str(folder))


def test_a_folder_names_the_mean_and_deviation_of_its_pixels(tmp_path: Path) -> None:
    folder = write_folder(tmp_path)
    file = folder / "open_clip_config.json"
    content = json.loads(file.read_text())
    assert backbone_config(str(folder)).normalization == CLIP_NORMALIZATION
    file.write_text(json.dumps(content | {"preprocess_cfg": {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.2, "0.1"]}}))
    chosen = load_backbone(str(folder), "random").normalization
    assert chosen == Normalization((0.5, 0.4, 0.3), (0.2, 0.2, 0.1))
    for preprocess, says in (
        ({"mean": 0.5}, "list of three numbers"),
        ({"mean": [0.5, 0.5]}, "list of three numbers"),
        ({"std": [0.2, 0.2, 0]}, "not above 0"),
        ({"std": [0.2, 0.2, "wide"]}, "'wide' is not a number"),
        ([1, 2], "preprocess_cfg"),
    ):
        file.write_text(json.dumps(content | {"preprocess_cfg": preprocess}))
        with pytest.raises(DataError, match=r"open_clip_config\.json") as caught:
            backbone_config(str(folder))
        assert says in str(caught.value)


def test_embedded_and_shipped_backbones_take_clips_pixels_and_are_aligned() -> None:
    for name in backbone_names():
        config = backbone_config(name)
        assert config.normalization == CLIP_NORMALIZATION
        assert config.aligned == ("dino" not in name)
        assert config.transformer == (not name.startswith("RN"))


@pytest.mark.parametrize(
    "name", [*EMBEDDED, "ViT-B-16", "ViT-L-14", "EVA02-B-16", "EVA02-L-14", "dinov2-b", "dinov2-l"]
)
def test_sizes_that_are_known_without_torch_are_those_of_the_towers(name: str) -> None:
    known = backbone_config(name)
    vision = load_backbone(name, "random", device="meta").vision
    assert (known.width, known.depth, known.patch) == (vision.width, vision.depth, vision.patch)


def test_the_width_of_a_resnet_is_known_without_torch() -> None:
    assert backbone_config("RN50").width == load_backbone("RN50", "random", device="meta").vision.width
    assert backbone_config("RN50").depth == 4


def test_every_family_has_a_builder() -> None:
    assert BUILDERS.keys() == {family.name for family in FAMILIES}
