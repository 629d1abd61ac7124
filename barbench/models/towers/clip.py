"""The vision and text transformers of an open_clip CLIP, branch by branch."""

from abc import abstractmethod
from typing import Any

import torch
from open_clip.model import CustomTextCLIP
from open_clip.transformer import QuickGELU
from torch import Tensor, nn

from barbench.errors import UsageError
from barbench.models.attention import attend
from barbench.models.efficient.activations import quick_gelu, quick_mlp
from barbench.models.efficient.norms import layer_norm
from barbench.models.stream import LinearRole, Project, Site, Stream, unchanged
from barbench.models.towers.base import Linear, TextTower, Tower, VisionTower
from barbench.models.towers.builder import Builder, Towers
from barbench.models.towers.key_maps import from_hugging_face
from barbench.models.towers.open_clip_model import build_model, fill_model

QKV: tuple[LinearRole, ...] = ("q", "k", "v")


class ClipBlocks(Tower):
    """The branches of open_clip's ResidualAttentionBlock, of which both towers are made."""

    @abstractmethod
    def block(self, number: int) -> Any:
        """One of the tower's blocks, counted from 0."""

    def norm(self, site: Site, x: Tensor) -> Tensor:
        """The norm in front of a branch: (B, T, D) -> (B, T, D)."""
        block = self.block(site.block)
        return layer_norm(block.ln_1 if site.branch == "attn" else block.ln_2, x)

    def attended(self, site: Site, stream: Stream, xn: Tensor, project: Project = unchanged) -> Tensor:
        """The attention before its out map, with q, k and v open to `project`: (B, T, D) -> (B, T, D).

        `nn.MultiheadAttention` never calls its `out_proj` module, so its maps are applied here one by one.
        """
        attn = self.block(site.block).attn
        q, k, v = self.packed_qkv(site, xn, Linear(attn.in_proj_weight, attn.in_proj_bias), project)
        mask = None if stream.mask is None else stream.mask.to(q.dtype)
        return attend(q, k, v, attn.num_heads, mask)

    def out(self, site: Site, h: Tensor, project: Project = unchanged) -> Tensor:
        """The out map of the attention, open to `project`: (B, T, D) -> (B, T, D)."""
        block = self.block(site.block)
        y: Tensor = block.ls_1(project(site, "out", h, block.attn.out_proj(h)))
        return y

    def mlp(self, site: Site, xn: Tensor, project: Project = unchanged) -> Tensor:
        """The MLP, with both maps and the activation open to `project`: (B, T, D) -> (B, T, D)."""
        block = self.block(site.block)
        up = block.mlp.c_fc
        down = block.mlp.c_proj
        quick = isinstance(block.mlp.gelu, QuickGELU)
        # Frozen and untouched maps are fused with the activation between them: one saved tensor instead of three.
        if quick and project is unchanged and not any(p.requires_grad for p in block.mlp.parameters()):
            y = quick_mlp(xn, up, down)
        else:
            wide = project(site, "up", xn, up(xn))
            active = quick_gelu(wide) if quick else block.mlp.gelu(wide)
            h = project(site, "act", wide, active)
            y = project(site, "down", h, down(h))
        z: Tensor = block.ls_2(y)
        return z

    def layer_scale(self, site: Site) -> Tensor | None:
        """The gains of a branch's LayerScale, (D,); None in most models, which have none."""
        block = self.block(site.block)
        scale = block.ls_1 if site.branch == "attn" else block.ls_2
        return None if isinstance(scale, nn.Identity) else scale.gamma

    def linear(self, block: int, role: LinearRole) -> Linear:
        """Views of the weights of one linear map; q, k and v are slices of one matrix."""
        attn = self.block(block).attn
        mlp = self.block(block).mlp
        if role in QKV:
            index = QKV.index(role)
            weight = attn.in_proj_weight.chunk(3)[index]
            bias = None if attn.in_proj_bias is None else attn.in_proj_bias.chunk(3)[index]
            return Linear(weight, bias)
        chosen = {"out": attn.out_proj, "up": mlp.c_fc, "down": mlp.c_proj}[role]
        return Linear(chosen.weight, chosen.bias)


class ClipVision(ClipBlocks, VisionTower):
    """open_clip's VisionTransformer with a class token."""

    def __init__(self, visual: Any) -> None:
        super().__init__()
        self.visual: Any = visual
        self.width = visual.conv1.out_channels
        self.depth = len(visual.transformer.resblocks)
        self.heads = visual.transformer.resblocks[0].attn.num_heads
        self.grid = visual.grid_size
        self.patch = visual.patch_size[0]
        self.joint = visual.output_dim
        self.outer_norms = (*self._stem(), Site("vision", self.depth, "end"))

    def block(self, number: int) -> Any:
        """One of the tower's blocks, counted from 0."""
        return self.visual.transformer.resblocks[number]

    def _stem(self) -> tuple[Site, ...]:
        """The norm before the first block; some models have none."""
        if isinstance(self.visual.ln_pre, nn.Identity):
            return ()
        return (Site("vision", -1, "stem"),)

    def embed(self, inputs: Tensor, project: Project = unchanged) -> Stream:
        """Patches and the class token with learned positions: (B, 3, S, S) -> (B, 1 + N, D)."""
        if project is unchanged or not self._stem():
            return Stream(self.visual._embeds(inputs), prefix=1)
        # open_clip's steps one by one, so that the first norm is open to `project`.
        patches = self.visual.conv1(inputs).flatten(2).transpose(1, 2)
        first = self.visual.class_embedding.to(patches.dtype).expand(len(patches), 1, -1)
        x = torch.cat([first, patches], 1) + self.visual.positional_embedding.to(patches.dtype)
        return Stream(project(self._stem()[0], "norm", x, self.visual.ln_pre(x)), prefix=1)

    def finish(self, x: Tensor, project: Project = unchanged) -> Tensor:
        """Final norm and projection: (B, T, D) -> (B, T, E)."""
        normed = project(self.outer_norms[-1], "norm", x, layer_norm(self.visual.ln_post, x))
        y: Tensor = normed @ self.visual.proj
        return y


class ClipText(ClipBlocks, TextTower):
    """open_clip's causal text transformer: a CLIP, which holds the parts itself, or a CustomTextCLIP's `text`."""

    def __init__(self, text: Any) -> None:
        super().__init__()
        self.token_embedding: nn.Embedding = text.token_embedding
        self.positional_embedding: nn.Parameter = text.positional_embedding
        self.transformer: Any = text.transformer
        self.ln_final: nn.Module = text.ln_final
        self.text_projection: nn.Parameter = text.text_projection
        self.mask: Tensor
        self.register_buffer("mask", text.attn_mask, persistent=False)
        self.width = self.token_embedding.embedding_dim
        self.depth = len(self.transformer.resblocks)
        self.heads = self.transformer.resblocks[0].attn.num_heads
        self.context_length = self.positional_embedding.shape[0]
        self.joint = self.text_projection.shape[1]
        self.outer_norms = (Site("text", self.depth, "end"),)

    def block(self, number: int) -> Any:
        """One of the tower's blocks, counted from 0."""
        return self.transformer.resblocks[number]

    def embed(self, inputs: Tensor, project: Project = unchanged) -> Stream:
        """Words with learned positions, the causal mask, and where padding is; no norm follows for `project`.

        Texts shorter than open_clip's context are taken as they are: positions and mask are cut, since open_clip
        refuses them.

        Args:
            inputs: token ids, int64 (B, L), 0 = padding.
            project: not used.

        Returns:
            Tokens (B, L, D).

        Raises:
            UsageError: if L is larger than the context length.
        """
        length = inputs.shape[1]
        if length > self.context_length:
            raise UsageError(
                f"a text of {length} tokens is longer than the backbone's context of {self.context_length}"
            )
        x = self.token_embedding(inputs) + self.positional_embedding[:length]
        return Stream(x, prefix=0, mask=self.mask[:length, :length], pad=inputs == 0)

    def finish(self, x: Tensor, project: Project = unchanged) -> Tensor:
        """Final norm: (B, L, D) -> (B, L, D)."""
        return project(self.outer_norms[-1], "norm", x, layer_norm(self.ln_final, x))

    def project(self, x: Tensor) -> Tensor:
        """Words into the joint space: (B, L, D) -> (B, L, E)."""
        return x @ self.text_projection


def text_tower(model: Any) -> ClipText:
    """The text tower of an open_clip model."""
    return ClipText(model.text if isinstance(model, CustomTextCLIP) else model)


def _wrap(model: Any, size: int, antialias: bool) -> Towers:
    return Towers(ClipVision(model.visual), text_tower(model))


BUILDER = Builder(build_model, fill_model, _wrap, (from_hugging_face,))
