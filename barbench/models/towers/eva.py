"""The vision transformer of EVA02-CLIP (timm's `Eva` in open_clip's hands), branch by branch."""

from typing import Any

import torch
from timm.layers.pos_embed import resample_abs_pos_embed
from timm.layers.pos_embed_sincos import apply_rot_embed_cat
from torch import Tensor

from barbench.models.attention import attend
from barbench.models.stream import Project, Site, Stream, unchanged
from barbench.models.towers.base import VisionTower


class EvaVision(VisionTower):
    """Learned positions at the input, rotary ones in every attention, SwiGLU with an inner norm.

    The class token and guests have no place in the image: their queries and keys are not rotated (the rotation by
    zero). The released code for EVA does the same, but leaves the last norm away before its projection.
    """

    def __init__(self, visual: Any) -> None:
        super().__init__()
        self.visual: Any = visual
        trunk = visual.trunk
        self.width, self.depth, self.joint = trunk.embed_dim, len(trunk.blocks), trunk.num_classes
        self.grid, self.patch = trunk.patch_embed.grid_size, trunk.patch_embed.patch_size[0]

    def embed(self, inputs: Tensor) -> Stream:
        trunk = self.visual.trunk
        x, _ = trunk._pos_embed(trunk.patch_embed(inputs))
        return Stream(trunk.norm_pre(x), prefix=trunk.num_prefix_tokens)

    def attention(self, site: Site, stream: Stream, project: Project = unchanged) -> Tensor:
        block = self.visual.trunk.blocks[site.block]
        attn, x = block.attn, block.norm1(stream.tokens)
        q, k = project(site, "q", x, attn.q_proj(x)), project(site, "k", x, attn.k_proj(x))
        v = project(site, "v", x, attn.v_proj(x))
        q, k = (self._rotated(t, stream.front, attn.num_heads) for t in (q, k))
        mask = None if stream.mask is None else stream.mask.to(q.dtype)
        h = attn.norm(attend(q, k, v, attn.num_heads, mask))
        y: Tensor = project(site, "out", h, attn.proj(h))
        return y if block.gamma_1 is None else block.gamma_1 * y

    def mlp(self, site: Site, x: Tensor, project: Project = unchanged) -> Tensor:
        block = self.visual.trunk.blocks[site.block]
        mlp, x = block.mlp, block.norm2(x)
        gate, up = project(site, "gate", x, mlp.fc1_g(x)), project(site, "up", x, mlp.fc1_x(x))
        h = mlp.norm(mlp.act(gate) * up)
        y: Tensor = project(site, "down", h, mlp.fc2(h))
        return y if block.gamma_2 is None else block.gamma_2 * y

    def finish(self, x: Tensor) -> Tensor:
        trunk = self.visual.trunk
        y: Tensor = trunk.head(trunk.norm(x))
        return y

    def _rotated(self, x: Tensor, front: int, heads: int) -> Tensor:
        """Queries or keys (B, T, D) with the tokens from `front` on, the patches, turned by their places."""
        turns = self.visual.trunk.rope.get_embed()[:, None]  # (N, 1, 2 D / heads), the same for every head
        patches = x[:, front:]
        patches = patches.view(*patches.shape[:2], heads, -1)
        return torch.cat([x[:, :front], apply_rot_embed_cat(patches, turns).flatten(2)], 1)


def resize(visual: Any, size: int, antialias: bool) -> None:
    """Fit learned (bicubic) and rotary positions of open_clip's `TimmModel` to images of `size` pixels, in place."""
    trunk = visual.trunk
    before, grid = trunk.pos_embed.data, trunk.patch_embed.grid_size
    if trunk.patch_embed.img_size == (size, size):
        return
    trunk.set_input_size((size, size))
    trunk.pos_embed.data = resample_abs_pos_embed(
        before, list(trunk.patch_embed.grid_size), list(grid), trunk.num_prefix_tokens, antialias=antialias
    )
