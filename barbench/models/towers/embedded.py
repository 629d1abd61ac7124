"""The vision transformers of the embedded `tiny-eva` and `tiny-dino`, registered with timm under the names that their
configurations have."""

from typing import Any

from timm.models import register_model
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer

from barbench.spec.backbone import DINO_SIZES, EVA_SIZES


@register_model
def eva02_embedded_patch8_clip_64(pretrained: bool = False, **kwargs: Any) -> Eva:
    """timm's `eva02_base_patch16_clip_224`, but small: six blocks of width 96 on 8 x 8 patches."""
    width, depth = EVA_SIZES["embedded"]
    sizes: dict[str, Any] = {
        "img_size": 64,
        "patch_size": 8,
        "embed_dim": width,
        "depth": depth,
        "num_heads": 3,
        "mlp_ratio": 8 / 3,
    }
    parts: dict[str, Any] = {"qkv_fused": False, "swiglu_mlp": True, "scale_mlp": True, "scale_attn_inner": True}
    chosen: dict[str, Any] = {name: kwargs[name] for name in ("num_classes", "global_pool")}
    return Eva(**sizes, **parts, use_rot_pos_emb=True, ref_feat_shape=(8, 8), head_init_scale=1.0, **chosen)


@register_model
def vit_embedded_patch8_reg4_dinov2(pretrained: bool = False, **kwargs: Any) -> VisionTransformer:
    """timm's `vit_base_patch14_reg4_dinov2`, but small: six blocks of width 96 on 8 x 8 patches."""
    width, depth = DINO_SIZES["embedded"]
    sizes: dict[str, Any] = {"patch_size": 8, "embed_dim": width, "depth": depth, "num_heads": 3}
    parts: dict[str, Any] = {"reg_tokens": 4, "no_embed_class": True, "init_values": 1.0}
    chosen: dict[str, Any] = {name: kwargs[name] for name in ("num_classes", "img_size")}
    return VisionTransformer(**sizes, **parts, **chosen)
