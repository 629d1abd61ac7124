"""Weights in Hugging Face's and in EVA-CLIP's own layout, written by tables of this file, load as open_clip's do."""

from pathlib import Path

import pytest
import torch
from open_clip.model import CLIP, CustomTextCLIP
from safetensors.torch import save_file
from torch import Tensor

from barbench.errors import DataError
from barbench.models.towers.load import load_backbone
from tests.models.small import config, inputs, write_folder


def state_of(kind: str) -> dict[str, Tensor]:
    model = config(kind)
    custom = model.pop("custom_text", False)
    torch.manual_seed(5)
    clip = (CustomTextCLIP if custom else CLIP)(**model)
    for parameter in clip.parameters():  # no zeros and ones, so that no swap goes unnoticed
        parameter.data.normal_(std=0.2)
    return dict(clip.state_dict())


def hugging_face(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """`CLIPModel`'s names, block by block; position_ids as older versions store them."""
    made = {
        "logit_scale": state["logit_scale"],
        "text_model.embeddings.token_embedding.weight": state["token_embedding.weight"],
        "text_model.embeddings.position_embedding.weight": state["positional_embedding"],
        "text_model.embeddings.position_ids": torch.arange(24)[None],
        "text_model.final_layer_norm.weight": state["ln_final.weight"],
        "text_model.final_layer_norm.bias": state["ln_final.bias"],
        "text_projection.weight": state["text_projection"].T.contiguous(),
        "vision_model.embeddings.class_embedding": state["visual.class_embedding"],
        "vision_model.embeddings.patch_embedding.weight": state["visual.conv1.weight"],
        "vision_model.embeddings.position_embedding.weight": state["visual.positional_embedding"],
        "vision_model.embeddings.position_ids": torch.arange(37)[None],
        "vision_model.pre_layrnorm.weight": state["visual.ln_pre.weight"],
        "vision_model.pre_layrnorm.bias": state["visual.ln_pre.bias"],
        "vision_model.post_layernorm.weight": state["visual.ln_post.weight"],
        "vision_model.post_layernorm.bias": state["visual.ln_post.bias"],
        "visual_projection.weight": state["visual.proj"].T.contiguous(),
    }
    for block in range(6):
        for tower, ours in (("text_model", "transformer"), ("vision_model", "visual.transformer")):
            for kind in ("weight", "bias"):
                theirs, own = f"{tower}.encoder.layers.{block}", f"{ours}.resblocks.{block}"
                q, k, v = state[f"{own}.attn.in_proj_{kind}"].chunk(3)
                made |= {
                    f"{theirs}.self_attn.{n}_proj.{kind}": t.contiguous() for n, t in zip("kvq", (k, v, q), strict=True)
                }
                made[f"{theirs}.self_attn.out_proj.{kind}"] = state[f"{own}.attn.out_proj.{kind}"]
                made[f"{theirs}.layer_norm1.{kind}"] = state[f"{own}.ln_1.{kind}"]
                made[f"{theirs}.layer_norm2.{kind}"] = state[f"{own}.ln_2.{kind}"]
                made[f"{theirs}.mlp.fc1.{kind}"] = state[f"{own}.mlp.c_fc.{kind}"]
                made[f"{theirs}.mlp.fc2.{kind}"] = state[f"{own}.mlp.c_proj.{kind}"]
    return made


def eva_clip(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """EVA-CLIP's names of the vision tower, with its rotary tables; the text tower has open_clip's."""
    made = {name: value for name, value in state.items() if not name.startswith("visual.")}
    trunk = {n.removeprefix("visual.trunk."): v for n, v in state.items() if n.startswith("visual.trunk.")}
    alike = ("cls_token", "pos_embed", "patch_embed.", "norm.", "head.")
    made |= {f"visual.{n}": v for n, v in trunk.items() if n.startswith(alike)}
    made |= {f"visual.rope.freqs_{f}": torch.zeros(36, 16) for f in ("cos", "sin")}
    for block in range(6):
        here = {n.removeprefix(f"blocks.{block}."): v for n, v in trunk.items() if n.startswith(f"blocks.{block}.")}
        there = f"visual.blocks.{block}."
        made |= {f"{there}attn.rope.freqs_{f}": torch.zeros(36, 16) for f in ("cos", "sin")}
        made[f"{there}attn.q_bias"], made[f"{there}attn.v_bias"] = here["attn.q_proj.bias"], here["attn.v_proj.bias"]
        for n in "qkv":
            made[f"{there}attn.{n}_proj.weight"] = here[f"attn.{n}_proj.weight"]
        for kind in ("weight", "bias"):
            made[f"{there}norm1.{kind}"], made[f"{there}norm2.{kind}"] = here[f"norm1.{kind}"], here[f"norm2.{kind}"]
            made[f"{there}attn.inner_attn_ln.{kind}"] = here[f"attn.norm.{kind}"]
            made[f"{there}attn.proj.{kind}"] = here[f"attn.proj.{kind}"]
            made[f"{there}mlp.w1.{kind}"] = here[f"mlp.fc1_g.{kind}"]  # silu(w1 x) * w2 x
            made[f"{there}mlp.w2.{kind}"] = here[f"mlp.fc1_x.{kind}"]
            made[f"{there}mlp.ffn_ln.{kind}"] = here[f"mlp.norm.{kind}"]
            made[f"{there}mlp.w3.{kind}"] = here[f"mlp.fc2.{kind}"]
    return made


@pytest.mark.parametrize(
    ("kind", "layout"),
    [("quickgelu", hugging_face), ("custom-text", hugging_face), ("eva", eva_clip)],
    ids=["huggingface", "huggingface-custom-text", "eva-clip"],
)
def test_other_layouts_load_as_open_clips(tmp_path: Path, kind: str, layout) -> None:  # type: ignore[no-untyped-def]
    state = state_of(kind)
    plain = state if kind != "custom-text" else {n.removeprefix("text."): v for n, v in state.items()}
    renamed = layout(plain)
    assert len(set(renamed) & set(state)) < len(state) / 2 + 1
    torch.save({"module": renamed}, tmp_path / "theirs.pt")  # wrapped, as deepspeed does
    save_file(state, tmp_path / "ours.safetensors")
    folder = str(write_folder(tmp_path / "b", kind))
    ours, theirs = (load_backbone(folder, str(tmp_path / name)) for name in ("ours.safetensors", "theirs.pt"))
    for tower in ("vision", "text"):
        expected = getattr(ours, tower).state_dict()
        found = getattr(theirs, tower).state_dict()
        assert expected.keys() == found.keys()
        assert all(torch.equal(expected[name], found[name]) for name in expected)
    images, ids = inputs()[:2]
    with torch.no_grad():
        assert torch.equal(*(b.vision.visual(images) for b in (ours, theirs)))
        assert torch.equal(*(b.text.embed(ids).tokens for b in (ours, theirs)))


def test_a_layout_that_lacks_a_part_says_what(tmp_path: Path) -> None:
    renamed = hugging_face(state_of("gelu"))
    del renamed["vision_model.encoder.layers.3.self_attn.v_proj.bias"]
    torch.save(renamed, tmp_path / "w.pt")
    expected = r"1 parameters are absent, the first is visual\.transformer\.resblocks\.3\.attn\.in_proj_bias$"
    with pytest.raises(DataError, match=expected):
        load_backbone(str(write_folder(tmp_path / "b")), str(tmp_path / "w.pt"))
