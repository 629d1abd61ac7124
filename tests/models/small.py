"""Small random CLIPs in open_clip's local format, one per kind of tower, and inputs for them."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from timm.models import register_model
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from barbench.models.towers.base import Backbone
from barbench.models.towers.load import load_backbone

EVA = "eva02_small_patch8_clip_48"


@register_model
def eva02_small_patch8_clip_48(pretrained: bool = False, depth: int = 6, **kwargs: Any) -> Eva:
    """timm's eva02_base_patch16_clip_224, but small; its rotary positions are scaled from a 5x5 grid."""
    sizes = {"img_size": 48, "patch_size": 8, "embed_dim": 48, "depth": depth, "num_heads": 3, "mlp_ratio": 8 / 3}
    parts = {"qkv_fused": False, "swiglu_mlp": True, "scale_mlp": True, "scale_attn_inner": True}
    chosen = {name: kwargs[name] for name in ("num_classes", "global_pool")}
    return Eva(**sizes, **parts, use_rot_pos_emb=True, ref_feat_shape=(5, 5), head_init_scale=1.0, **chosen)


@register_model
def eva02_shallow_patch8_clip_48(pretrained: bool = False, **kwargs: Any) -> Eva:
    """The same with four blocks."""
    return eva02_small_patch8_clip_48(pretrained, 4, **kwargs)


@register_model
def vit_little_patch8_reg4_dinov2(
    pretrained: bool = False, depth: int = 6, reg_tokens: int = 4, **kwargs: Any
) -> VisionTransformer:
    """timm's vit_base_patch14_reg4_dinov2, but small."""
    sizes = {"patch_size": 8, "embed_dim": 48, "depth": depth, "num_heads": 3, "init_values": 1e-5}
    chosen = {name: kwargs[name] for name in ("num_classes", "img_size")}
    return VisionTransformer(**sizes, **chosen, reg_tokens=reg_tokens, no_embed_class=reg_tokens > 0)


@register_model
def vit_little_patch8_dinov2(pretrained: bool = False, **kwargs: Any) -> VisionTransformer:
    """The same without registers."""
    return vit_little_patch8_reg4_dinov2(pretrained, reg_tokens=0, **kwargs)


@register_model
def vit_shallow_patch8_reg4_dinov2(pretrained: bool = False, **kwargs: Any) -> VisionTransformer:
    """The same with four blocks."""
    return vit_little_patch8_reg4_dinov2(pretrained, 4, **kwargs)


torch.set_num_threads(1)  # tests run in parallel, and these models are small

VOCABULARY, CONTEXT, LENGTH, SIZE = 64, 24, 9, 48
KINDS: dict[str, dict[str, Any]] = {
    "gelu": {},
    "quickgelu": {"quick_gelu": True},
    "custom-text": {"custom_text": True},
    "deep-vision": {"vision_cfg": {"layers": 12}, "text_cfg": {"layers": 6}},
    "eva": {
        "custom_text": True,
        "vision_cfg": {"timm_model_name": EVA, "timm_model_pretrained": False, "timm_pool": "token", "timm_proj": None},
    },
    "layer-scale": {"vision_cfg": {"ls_init_value": 0.3}, "text_cfg": {"ls_init_value": 0.3, "width": 48, "heads": 3}},
}
DINO, DINO_PLAIN = "dinov2", "dinov2-noreg"
"""Kinds whose words and patches share no space, with four registers and without."""
DINOS = {DINO: "vit_little_patch8_reg4_dinov2", DINO_PLAIN: "vit_little_patch8_dinov2"}
RESNET = "resnet"
"""A kind that only some methods can be used on; its images have RESNET_SIZE pixels."""
RESNET_SIZE = 64
RESNET_CONFIG = {"layers": [1, 1, 1, 1], "width": 8, "image_size": RESNET_SIZE, "head_width": 32}
HEAD = {"width": 32, "ffn": 48, "heads": 4, "layers": 2, "dropout": 0.1}


def config(kind: str, shallow: bool = False) -> dict[str, Any]:
    """open_clip's model configuration of a kind of CLIP; `shallow`: with two thirds of the blocks."""
    if kind == RESNET:
        special: dict[str, Any] = {"vision_cfg": RESNET_CONFIG}
    elif kind in DINOS:
        special = {"vision_cfg": {"timm_model_name": DINOS[kind]}}
    else:
        special = KINDS[kind]
    vision = {"image_size": SIZE, "layers": 6, "width": 64, "patch_size": 8, "head_width": 16}
    text = {"context_length": CONTEXT, "vocab_size": VOCABULARY, "width": 64, "heads": 4, "layers": 6}
    parts = {"vision_cfg": vision | special.get("vision_cfg", {}), "text_cfg": text | special.get("text_cfg", {})}
    if shallow:
        for part in parts.values():
            if isinstance(part["layers"], int):
                part["layers"] = part["layers"] * 2 // 3
        if "timm_model_name" in parts["vision_cfg"]:
            name = parts["vision_cfg"]["timm_model_name"]
            parts["vision_cfg"]["timm_model_name"] = name.replace("small", "shallow").replace("little", "shallow")
    return {"embed_dim": 40, **special, **parts}


def write_folder(folder: Path, kind: str = "gelu", shallow: bool = False) -> Path:
    """A backbone folder without weights."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "open_clip_config.json").write_text(
        json.dumps({"model_cfg": config(kind, shallow), "preprocess_cfg": {}})
    )
    (folder / "barbench.json").write_text(json.dumps(HEAD))
    return folder


def small(
    kind: str = "gelu", seed: int = 0, image_size: int | None = None, device: str = "cpu", shallow: bool = False
) -> Backbone:
    """A random small backbone."""
    with TemporaryDirectory() as folder:
        write_folder(Path(folder), kind, shallow)
        backbone = load_backbone(folder, "random", image_size, seed=seed, device=device)
    for name, p in backbone.vision.named_parameters():
        if name.endswith("bn3.weight"):  # zero at random: no branch of a ResNet would do anything
            p.data.fill_(0.5)
        if kind in DINOS and name.endswith(".gamma"):  # next to zero at random: no branch would do anything
            p.data.uniform_(0.1, 1, generator=torch.Generator(device).manual_seed(seed))
    return backbone


def inputs(batch: int = 3, seed: int = 0, length: int = LENGTH, size: int = SIZE) -> tuple[Tensor, Tensor]:
    """Images (batch, 3, size, size) and ids (batch, length) of texts of different lengths, padded with 0."""
    make = torch.Generator().manual_seed(seed)
    image = torch.randn(batch, 3, size, size, generator=make)
    ids = torch.randint(1, VOCABULARY - 2, (batch, length), generator=make)
    for row, end in enumerate(torch.randint(3, length, (batch,), generator=make).tolist()):
        ids[row, 0], ids[row, end] = VOCABULARY - 2, VOCABULARY - 1
        ids[row, end + 1 :] = 0
    return image, ids
