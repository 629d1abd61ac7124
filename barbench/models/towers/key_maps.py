"""From the names of other public code for CLIP's weights to open_clip's.

Hugging Face's `CLIPModel` (transformers/models/clip/modeling_clip.py at 5.24): two towers with separate query, key and
value maps, and projections stored as linear maps, which is the transpose of open_clip's. EVA-CLIP's own files
(EVA-CLIP/rei/eva_clip/eva_vit_model.py of baaivision/EVA at 322427b): open_clip's text tower, and a vision tower that
timm has under other names, whose query and value biases lie beside the maps and whose rotary tables are stored.
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


def _renamed(name: str, pairs: Sequence[tuple[str, str]]) -> str:
    for theirs, ours in pairs:
        name = name.replace(theirs, ours, 1)
    return name
