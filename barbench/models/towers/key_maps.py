"""From the names of other public code for CLIP's weights to open_clip's.

Hugging Face's `CLIPModel` (transformers/models/clip/modeling_clip.py at 5.24): two towers with separate query, key and
value maps, and projections stored as linear maps, which is the transpose of open_clip's. EVA-CLIP's own files
(EVA-CLIP/rei/eva_clip/eva_vit_model.py of baaivision/EVA at 322427b): open_clip's text tower, and a vision tower that
timm has under other names, whose query and value biases lie beside the maps and whose rotary tables are stored.
DINOv2: its authors' files (facebookresearch/dinov2 at the checkpoints' layout) and Hugging Face's `Dinov2Model` and
`Dinov2WithRegistersModel`, whose files and whose modules from transformers 5 on name the attention differently.
"""

import re
from collections.abc import Sequence

import torch

from barbench.models.towers.builder import State

HUGGING_FACE = (
    ("vision_model.embeddings.class_embedding", "visual.class_embedding"),
    ("vision_model.embeddings.patch_embedding.", "visual.conv1."),
    ("vision_model.embeddings.position_embedding.weight", "visual.positional_embedding"),
    ("vision_model.pre_layrnorm.", "visual.ln_pre."),  # the misspelling is theirs
    ("vision_model.post_layernorm.", "visual.ln_post."),
    ("vision_model.encoder.layers.", "visual.transformer.resblocks."),
    ("text_model.embeddings.token_embedding.", "token_embedding."),
    ("text_model.embeddings.position_embedding.weight", "positional_embedding"),
    ("text_model.final_layer_norm.", "ln_final."),
    ("text_model.encoder.layers.", "transformer.resblocks."),
    (".self_attn.", ".attn."),
    (".layer_norm1.", ".ln_1."),
    (".layer_norm2.", ".ln_2."),
    (".mlp.fc1.", ".mlp.c_fc."),
    (".mlp.fc2.", ".mlp.c_proj."),
)
PROJECTIONS = {"visual_projection.weight": "visual.proj", "text_projection.weight": "text_projection"}
EVA = (
    ("visual.", "visual.trunk."),
    (".attn.q_bias", ".attn.q_proj.bias"),
    (".attn.v_bias", ".attn.v_proj.bias"),
    (".attn.inner_attn_ln.", ".attn.norm."),
    (".mlp.ffn_ln.", ".mlp.norm."),
    (".mlp.w1.", ".mlp.fc1_g."),
    (".mlp.w2.", ".mlp.fc1_x."),
    (".mlp.w3.", ".mlp.fc2."),
)
HUGGING_FACE_DINO = (
    ("embeddings.cls_token", "cls_token"),
    ("embeddings.register_tokens", "register_tokens"),
    ("embeddings.mask_token", "mask_token"),
    ("embeddings.position_embeddings", "pos_embed"),
    ("embeddings.patch_embeddings.projection.", "patch_embed.proj."),
    ("encoder.layer.", "blocks."),
    (".attention.output.dense.", ".attn.proj."),
    (".attention.o_proj.", ".attn.proj."),
    (".attention.attention.", ".attn."),
    (".attention.", ".attn."),
    (".layer_scale1.lambda1", ".ls1.gamma"),
    (".layer_scale2.lambda1", ".ls2.gamma"),
    ("layernorm.", "norm."),
)
DINO_QUERY = re.compile(r"(.*\.attn\.)(query|key|value|q_proj|k_proj|v_proj)\.(weight|bias)")


def from_hugging_face(state: State) -> State | None:
    """Hugging Face's names to open_clip's; None where the names are not Hugging Face's."""
    if "vision_model.embeddings.class_embedding" not in state and "text_model.final_layer_norm.weight" not in state:
        return None
    made: State = {}
    for name, value in state.items():
        if name.endswith(".position_ids"):  # 0, 1, 2, …: a buffer of older versions
            continue
        if name in PROJECTIONS:
            made[PROJECTIONS[name]] = value.T
            continue
        found = re.fullmatch(r"(.*\.self_attn\.)([qkv])_proj\.(weight|bias)", name)
        if found is None:
            made[_renamed(name, HUGGING_FACE)] = value
            continue
        # open_clip has one matrix for query, key and value; it is made once, where the query's comes.
        attention, role, kind = found.groups()
        keys = [f"{attention}{part}_proj.{kind}" for part in "qkv"]
        parts = [state[key] for key in keys if key in state]
        if role == "q" and len(parts) == 3:
            made[f"{_renamed(attention, HUGGING_FACE)}in_proj_{kind}"] = torch.cat(parts)
    return made


def from_eva_clip(state: State) -> State | None:
    """EVA-CLIP's own names to open_clip's; None where the names are not EVA-CLIP's."""
    if "visual.cls_token" not in state:
        return None
    made: State = {}
    for name, value in state.items():
        if ".rope." in name:  # tables that timm computes
            continue
        made[_renamed(name, EVA) if name.startswith("visual.") else name] = value
    return made


def dino_names(state: State) -> State | None:
    """DINOv2's parameters, as timm, its authors or Hugging Face name them, under timm's names; None where no class
    token of theirs is there.

    Models with registers have no position for the class token in timm: there it is part of the token.
    """
    # Hugging Face's names may stand behind the name of a module around the model.
    for name in state:
        prefix, found, rest = name.partition("embeddings.cls_token")
        if found and not rest:
            state = _from_hugging_face_dino({n.removeprefix(prefix): value for n, value in state.items()})
            break
    if "cls_token" not in state:
        return None
    # timm's own files have neither of the two.
    made = dict(state)
    made.pop("mask_token", None)
    if "register_tokens" in made:
        made["reg_token"] = made.pop("register_tokens")
    if "register_tokens" in state and "pos_embed" in state:
        positions = state["pos_embed"]
        made["cls_token"] = made["cls_token"] + positions[:, :1]
        made["pos_embed"] = positions[:, 1:]
    return made


def _from_hugging_face_dino(state: State) -> State:
    """The authors' names in place of Hugging Face's; query, key and value become one matrix."""
    made: State = {}
    apart: dict[str, dict[str, torch.Tensor]] = {}
    for name, value in state.items():
        renamed = _renamed(name, HUGGING_FACE_DINO)
        found = DINO_QUERY.fullmatch(renamed)
        if found is None:
            made[renamed] = value
            continue
        attention, role, kind = found.groups()
        apart.setdefault(f"{attention}qkv.{kind}", {})[role[0]] = value
    # A map is made where all three of its parts were there.
    for name, parts in apart.items():
        if len(parts) == 3:
            made[name] = torch.cat([parts[role] for role in "qkv"])
    return made


def _renamed(name: str, pairs: Sequence[tuple[str, str]]) -> str:
    for theirs, ours in pairs:
        name = name.replace(theirs, ours, 1)
    return name
