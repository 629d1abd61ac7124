"""The vision transformer of EVA02-CLIP (timm's `Eva` inside open_clip), branch by branch."""

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

    The class token and inserted tokens have no position in the image: their queries and keys are not rotated (a
    rotation by zero). The released code for EVA does the same, but leaves out the last norm before its projection.

    Args:
        visual: open_clip's `TimmModel`.
    """

    def __init__(self, visual: Any) -> None:
        super().__init__()
        self.visual: Any = visual
        trunk = visual.trunk
        self.width, self.depth, self.joint = trunk.embed_dim, len(trunk.blocks), trunk.num_classes
        self.grid, self.patch = trunk.patch_embed.grid_size, trunk.patch_embed.patch_size[0]

    def embed(self, inputs: Tensor) -> Stream:
        """Patches and the class token with learned positions: (B, 3, S, S) -> (B, 1 + N, D)."""
        trunk = self.visual.trunk
        x, _ = trunk._pos_embed(trunk.patch_embed(inputs))
        return Stream(trunk.norm_pre(x), prefix=trunk.num_prefix_tokens)

    def attention(self, site: Site, stream: Stream, project: Project = unchanged) -> Tensor:
        """The attention branch: rotary positions for the patches, and an inner norm before the output map.

        Args:
            site: the branch; `site.block` says which block.
            stream: the tokens (B, T, D), of which those before `stream.front` are not rotated.
            project: called on each linear map's output.

        Returns:
            What the branch adds to the tokens, (B, T, D).
        """
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
        """The SwiGLU branch: down(norm(act(gate(x)) * up(x))).

        Args:
            site: the branch; `site.block` says which block.
            x: the tokens (B, T, D).
            project: called on each linear map's output.

        Returns:
            What the branch adds to the tokens, (B, T, D).
        """
        block = self.visual.trunk.blocks[site.block]
        mlp, x = block.mlp, block.norm2(x)
        gate, up = project(site, "gate", x, mlp.fc1_g(x)), project(site, "up", x, mlp.fc1_x(x))
        h = mlp.norm(mlp.act(gate) * up)
        y: Tensor = project(site, "down", h, mlp.fc2(h))
        return y if block.gamma_2 is None else block.gamma_2 * y

    def finish(self, x: Tensor) -> Tensor:
        """Final norm and projection: (B, T, D) -> (B, T, E)."""
        trunk = self.visual.trunk
        y: Tensor = trunk.head(trunk.norm(x))
        return y

    def _rotated(self, x: Tensor, front: int, heads: int) -> Tensor:
        """Queries or keys (B, T, D) with rotary positions on the tokens from `front` on, the patches."""
        rotary = self.visual.trunk.rope.get_embed()[:, None]  # (N, 1, 2 D / heads), the same for every head
        patches = x[:, front:]
        patches = patches.view(*patches.shape[:2], heads, -1)
        return torch.cat([x[:, :front], apply_rot_embed_cat(patches, rotary).flatten(2)], 1)


def resize(visual: Any, size: int, antialias: bool) -> None:
    """Fit learned (bicubic) and rotary positions of open_clip's `TimmModel` to another image size, in place.

    Args:
        visual: the `TimmModel`.
        size: side of the images, in pixels.
        antialias: of the bicubic resizing of learned positions.
    """
    trunk = visual.trunk
    before, grid = trunk.pos_embed.data, trunk.patch_embed.grid_size
    if trunk.patch_embed.img_size == (size, size):
        return
    trunk.set_input_size((size, size))
    trunk.pos_embed.data = resample_abs_pos_embed(
        before, list(trunk.patch_embed.grid_size), list(grid), trunk.num_prefix_tokens, antialias=antialias
    )
