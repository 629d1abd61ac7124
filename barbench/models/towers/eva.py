"""The vision transformer of EVA02-CLIP (timm's `Eva` inside open_clip), branch by branch."""

from typing import Any

import torch
from timm.layers.pos_embed import resample_abs_pos_embed
from timm.layers.pos_embed_sincos import apply_rot_embed_cat
from torch import Tensor

from barbench.models.attention import attend
from barbench.models.stream import LinearRole, Project, Site, Stream, unchanged
from barbench.models.towers import embedded as _embedded  # noqa: F401  (registers its model with timm)
from barbench.models.towers.base import Linear, VisionTower
from barbench.models.towers.builder import Builder, Towers
from barbench.models.towers.clip import text_tower
from barbench.models.towers.key_maps import from_eva_clip, from_hugging_face
from barbench.models.towers.open_clip_model import build_model, fill_model


class EvaVision(VisionTower):
    """open_clip's `TimmModel` with learned positions at the input, rotary ones in every attention, SwiGLU with an inner
    norm.

    The class token and inserted tokens have no position in the image: their queries and keys are not rotated (a
    rotation by zero). The released code for EVA does the same, but leaves out the last norm before its projection.
    """

    maps: tuple[LinearRole, ...] = ("q", "k", "v", "out", "up", "gate", "down")

    def __init__(self, visual: Any) -> None:
        super().__init__()
        self.visual: Any = visual
        trunk = visual.trunk
        self.width = trunk.embed_dim
        self.depth = len(trunk.blocks)
        self.joint = trunk.num_classes
        self.heads = trunk.blocks[0].attn.num_heads
        self.grid = trunk.patch_embed.grid_size
        self.patch = trunk.patch_embed.patch_size[0]
        self.outer_norms = (Site("vision", self.depth, "end"),)

    def embed(self, inputs: Tensor, project: Project = unchanged) -> Stream:
        """Patches and the class token with learned positions: (B, 3, S, S) -> (B, 1 + N, D)."""
        trunk = self.visual.trunk
        x, _ = trunk._pos_embed(trunk.patch_embed(inputs))
        return Stream(trunk.norm_pre(x), prefix=trunk.num_prefix_tokens)

    def norm(self, site: Site, x: Tensor) -> Tensor:
        """The norm in front of a branch: (B, T, D) -> (B, T, D)."""
        block = self.visual.trunk.blocks[site.block]
        y: Tensor = (block.norm1 if site.branch == "attn" else block.norm2)(x)
        return y

    def attended(self, site: Site, stream: Stream, xn: Tensor, project: Project = unchanged) -> Tensor:
        """Rotary positions for the patches, and an inner norm before the out map: (B, T, D) -> (B, T, D)."""
        attn = self.visual.trunk.blocks[site.block].attn
        q = project(site, "q", xn, attn.q_proj(xn))
        k = project(site, "k", xn, attn.k_proj(xn))
        v = project(site, "v", xn, attn.v_proj(xn))
        # Tokens in front of the patches have no position in the image.
        q = self._rotated(q, stream.front, attn.num_heads)
        k = self._rotated(k, stream.front, attn.num_heads)
        mask = None if stream.mask is None else stream.mask.to(q.dtype)
        h: Tensor = attn.norm(attend(q, k, v, attn.num_heads, mask))
        return h

    def out(self, site: Site, h: Tensor, project: Project = unchanged) -> Tensor:
        """The out map of the attention: (B, T, D) -> (B, T, D)."""
        block = self.visual.trunk.blocks[site.block]
        y: Tensor = project(site, "out", h, block.attn.proj(h))
        return y if block.gamma_1 is None else block.gamma_1 * y

    def mlp(self, site: Site, xn: Tensor, project: Project = unchanged) -> Tensor:
        """The SwiGLU branch: down(norm(act(gate(xn)) * up(xn))); (B, T, D) -> (B, T, D)."""
        block = self.visual.trunk.blocks[site.block]
        mlp = block.mlp
        gate = project(site, "gate", xn, mlp.fc1_g(xn))
        up = project(site, "up", xn, mlp.fc1_x(xn))
        h = project(site, "act", up, mlp.norm(mlp.act(gate) * up))
        y: Tensor = project(site, "down", h, mlp.fc2(h))
        return y if block.gamma_2 is None else block.gamma_2 * y

    def layer_scale(self, site: Site) -> Tensor | None:
        """The gains of the branch's LayerScale, (D,); None in models of EVA02's published kind."""
        block = self.visual.trunk.blocks[site.block]
        gains: Tensor | None = block.gamma_1 if site.branch == "attn" else block.gamma_2
        return gains

    def linear(self, block: int, role: LinearRole) -> Linear:
        """Weights of one linear map: views, not copies."""
        attn = self.visual.trunk.blocks[block].attn
        mlp = self.visual.trunk.blocks[block].mlp
        modules = {
            "q": attn.q_proj,
            "k": attn.k_proj,
            "v": attn.v_proj,
            "out": attn.proj,
            "up": mlp.fc1_x,
            "gate": mlp.fc1_g,
            "down": mlp.fc2,
        }
        chosen = modules[role]
        return Linear(chosen.weight, chosen.bias)

    def finish(self, x: Tensor, project: Project = unchanged) -> Tensor:
        """Final norm and projection: (B, T, D) -> (B, T, E)."""
        trunk = self.visual.trunk
        y: Tensor = trunk.head(project(self.outer_norms[-1], "norm", x, trunk.norm(x)))
        return y

    def _rotated(self, x: Tensor, front: int, heads: int) -> Tensor:
        """Queries or keys (B, T, D) with rotary positions on the tokens from `front` on, the patches."""
        rotary = self.visual.trunk.rope.get_embed()[:, None]  # (N, 1, 2 D / heads), the same for every head
        patches = x[:, front:]
        patches = patches.view(*patches.shape[:2], heads, -1)
        return torch.cat([x[:, :front], apply_rot_embed_cat(patches, rotary).flatten(2)], 1)


def _resize_positions(visual: Any, size: int, antialias: bool) -> None:
    """Fit learned (bicubic) and rotary positions of open_clip's `TimmModel` to images of `size` pixels, in place."""
    trunk = visual.trunk
    if trunk.patch_embed.img_size == (size, size):
        return
    positions = trunk.pos_embed.data
    grid = list(trunk.patch_embed.grid_size)
    trunk.set_input_size((size, size))
    new_grid = list(trunk.patch_embed.grid_size)
    trunk.pos_embed.data = resample_abs_pos_embed(
        positions, new_grid, grid, trunk.num_prefix_tokens, antialias=antialias
    )


def _wrap(model: Any, size: int, antialias: bool) -> Towers:
    _resize_positions(model.visual, size, antialias)  # after loading: timm builds it at its own size
    return Towers(EvaVision(model.visual), text_tower(model))


BUILDER = Builder(build_model, fill_model, _wrap, (from_hugging_face, from_eva_clip))
