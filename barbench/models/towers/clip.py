"""The vision and text transformers of an open_clip CLIP, branch by branch."""

from typing import Any

import torch.nn.functional as F
from open_clip.transformer import QuickGELU
from torch import Tensor, nn

from barbench.errors import UsageError
from barbench.models.attention import attend
from barbench.models.efficient.activations import quick_gelu, quick_mlp
from barbench.models.stream import Project, Site, Stream, unchanged
from barbench.models.towers.base import TextTower, VisionTower


def clip_attention(block: Any, site: Site, stream: Stream, project: Project) -> Tensor:
    """Attention branch of open_clip's ResidualAttentionBlock, with q, k, v and out open to `project`.

    `nn.MultiheadAttention` never calls its `out_proj` module, so its maps are applied here one by one.

    Args:
        block: the ResidualAttentionBlock.
        site: its address.
        stream: the tokens (B, T, D) and their additive mask.
        project: called on each linear map's output.

    Returns:
        (B, T, D).
    """
    attn, x = block.attn, block.ln_1(stream.tokens)
    q, k, v = F.linear(x, attn.in_proj_weight, attn.in_proj_bias).chunk(3, -1)
    q, k, v = project(site, "q", x, q), project(site, "k", x, k), project(site, "v", x, v)
    mask = None if stream.mask is None else stream.mask.to(q.dtype)
    h = attend(q, k, v, attn.num_heads, mask)
    y: Tensor = block.ls_1(project(site, "out", h, attn.out_proj(h)))
    return y


def clip_mlp(block: Any, site: Site, x: Tensor, project: Project) -> Tensor:
    """MLP branch of open_clip's ResidualAttentionBlock, with both linear maps open to `project`.

    Args:
        block: the ResidualAttentionBlock.
        site: its address.
        x: the tokens (B, T, D).
        project: called on each linear map's output.

    Returns:
        (B, T, D).
    """
    x, up, down = block.ln_2(x), block.mlp.c_fc, block.mlp.c_proj
    quick = isinstance(block.mlp.gelu, QuickGELU)
    # Frozen and untouched maps are fused with the activation between them: one saved tensor instead of three.
    if quick and project is unchanged and not any(p.requires_grad for p in block.mlp.parameters()):
        y = quick_mlp(x, up, down)
    else:
        h = (quick_gelu if quick else block.mlp.gelu)(project(site, "up", x, up(x)))
        y = project(site, "down", h, down(h))
    z: Tensor = block.ls_2(y)
    return z


class ClipVision(VisionTower):
    """open_clip's VisionTransformer with a class token.

    Args:
        visual: the VisionTransformer.
    """

    def __init__(self, visual: Any) -> None:
        super().__init__()
        self.visual: Any = visual
        self.width, self.depth = visual.conv1.out_channels, len(visual.transformer.resblocks)
        self.grid, self.patch = visual.grid_size, visual.patch_size[0]
        self.joint = visual.output_dim

    def embed(self, inputs: Tensor) -> Stream:
        """Patches and the class token with learned positions: (B, 3, S, S) -> (B, 1 + N, D)."""
        return Stream(self.visual._embeds(inputs), prefix=1)

    def attention(self, site: Site, stream: Stream, project: Project = unchanged) -> Tensor:
        """The block's attention branch, see `clip_attention`."""
        return clip_attention(self.visual.transformer.resblocks[site.block], site, stream, project)

    def mlp(self, site: Site, x: Tensor, project: Project = unchanged) -> Tensor:
        """The block's MLP branch, see `clip_mlp`."""
        return clip_mlp(self.visual.transformer.resblocks[site.block], site, x, project)

    def finish(self, x: Tensor) -> Tensor:
        """Final norm and projection: (B, T, D) -> (B, T, E)."""
        y: Tensor = self.visual.ln_post(x) @ self.visual.proj
        return y


class ClipText(TextTower):
    """open_clip's causal text transformer.

    Args:
        text: a CLIP (which holds the parts itself) or a CustomTextCLIP's `text`.
    """

    def __init__(self, text: Any) -> None:
        super().__init__()
        self.token_embedding: nn.Embedding = text.token_embedding
        self.positional_embedding: nn.Parameter = text.positional_embedding
        self.transformer: Any = text.transformer
        self.ln_final: nn.Module = text.ln_final
        self.text_projection: nn.Parameter = text.text_projection
        self.mask: Tensor
        self.register_buffer("mask", text.attn_mask, persistent=False)
        self.width, self.depth = self.token_embedding.embedding_dim, len(self.transformer.resblocks)
        self.context = self.positional_embedding.shape[0]

    def embed(self, inputs: Tensor) -> Stream:
        """Words with learned positions, the causal mask, and where padding is.

        Texts shorter than open_clip's context are taken as they are: positions and mask are cut, since open_clip
        refuses them.

        Args:
            inputs: token ids, int64 (B, L), 0 = padding.

        Returns:
            Tokens (B, L, D).

        Raises:
            UsageError: if L is larger than the context length.
        """
        length = inputs.shape[1]
        if length > self.context:
            raise UsageError(f"a text of {length} tokens is longer than the backbone's context of {self.context}")
        x = self.token_embedding(inputs) + self.positional_embedding[:length]
        return Stream(x, prefix=0, mask=self.mask[:length, :length], pad=inputs == 0)

    def attention(self, site: Site, stream: Stream, project: Project = unchanged) -> Tensor:
        """The block's attention branch, see `clip_attention`."""
        return clip_attention(self.transformer.resblocks[site.block], site, stream, project)

    def mlp(self, site: Site, x: Tensor, project: Project = unchanged) -> Tensor:
        """The block's MLP branch, see `clip_mlp`."""
        return clip_mlp(self.transformer.resblocks[site.block], site, x, project)

    def finish(self, x: Tensor) -> Tensor:
        """Final norm: (B, L, D) -> (B, L, D)."""
        y: Tensor = self.ln_final(x)
        return y

    def project(self, x: Tensor) -> Tensor:
        """Words into the joint space: (B, L, D) -> (B, L, E)."""
        return x @ self.text_projection
