"""The vision transformer of EVA02-CLIP (timm's `Eva` inside open_clip), branch by branch."""

from typing import Any

import torch
from timm.layers.pos_embed import resample_abs_pos_embed
from timm.layers.pos_embed_sincos import apply_rot_embed_cat
from torch import Tensor

from barbench.models.attention import attend
from barbench.models.stream import LinearRole, Project, Site, Stream, unchanged
from barbench.models.towers.base import Linear, VisionTower


class EvaVision(VisionTower):
    """Learned positions at the input, rotary ones in every attention, SwiGLU with an inner norm.

    The class token and inserted tokens have no position in the image: their queries and keys are not rotated (a
    rotation by zero). The released code for EVA does the same, but leaves out the last norm before its projection.

    Args:
        visual: open_clip's `TimmModel`.
    """

    maps: tuple[LinearRole, ...] = ("q", "k", "v", "out", "up", "gate", "down")

    def __init__(self, visual: Any) -> None:
        super().__init__()
        self.visual: Any = visual
        trunk = visual.trunk
        self.width, self.depth, self.joint = trunk.embed_dim, len(trunk.blocks), trunk.num_classes
        self.heads = trunk.blocks[0].attn.num_heads
        self.grid, self.patch = trunk.patch_embed.grid_size, trunk.patch_embed.patch_size[0]
        self.ends = (Site("vision", self.depth, "end"),)

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

    def attention(self, site: Site, stream: Stream, xn: Tensor, project: Project = unchanged) -> Tensor:
        """The attention branch: rotary positions for the patches, and an inner norm before the output map.

        Args:
            site: the branch; `site.block` says which block.
            stream: the tokens (B, T, D), of which those before `stream.front` are not rotated.
            xn: the tokens after the norm (B, T, D).
            project: called on each linear map's output.

        Returns:
            What the branch adds to the tokens, (B, T, D).
        """
        block = self.visual.trunk.blocks[site.block]
        attn = block.attn
        q, k = project(site, "q", xn, attn.q_proj(xn)), project(site, "k", xn, attn.k_proj(xn))
        v = project(site, "v", xn, attn.v_proj(xn))
        q, k = (self._rotated(t, stream.front, attn.num_heads) for t in (q, k))
        mask = None if stream.mask is None else stream.mask.to(q.dtype)
        h = attn.norm(attend(q, k, v, attn.num_heads, mask))
        y: Tensor = project(site, "out", h, attn.proj(h))
        return y if block.gamma_1 is None else block.gamma_1 * y

    def mlp(self, site: Site, xn: Tensor, project: Project = unchanged) -> Tensor:
        """The SwiGLU branch: down(norm(act(gate(xn)) * up(xn))).

        Args:
            site: the branch; `site.block` says which block.
            xn: the tokens after the norm (B, T, D).
            project: called on the output of each linear map and of the activation.

        Returns:
            What the branch adds to the tokens, (B, T, D).
        """
        block = self.visual.trunk.blocks[site.block]
        mlp = block.mlp
        gate, up = project(site, "gate", xn, mlp.fc1_g(xn)), project(site, "up", xn, mlp.fc1_x(xn))
        h = project(site, "act", up, mlp.norm(mlp.act(gate) * up))
        y: Tensor = project(site, "down", h, mlp.fc2(h))
        return y if block.gamma_2 is None else block.gamma_2 * y

    def linear(self, block: int, role: LinearRole) -> Linear:
        """Weights of one linear map: views, not copies."""
        attn, mlp = self.visual.trunk.blocks[block].attn, self.visual.trunk.blocks[block].mlp
        inside = {"q": attn.q_proj, "k": attn.k_proj, "v": attn.v_proj, "out": attn.proj}
        chosen = (inside | {"up": mlp.fc1_x, "gate": mlp.fc1_g, "down": mlp.fc2})[role]
        return Linear(chosen.weight, chosen.bias)

    def finish(self, x: Tensor, project: Project = unchanged) -> Tensor:
        """Final norm and projection: (B, T, D) -> (B, T, E)."""
        trunk = self.visual.trunk
        y: Tensor = trunk.head(project(self.ends[-1], "norm", x, trunk.norm(x)))
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
