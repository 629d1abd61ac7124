"""Vision-language decoder (appendix C): patches attend to each other, then to the words."""

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from barbench.models.attention import multihead
from barbench.models.efficient.dropout import Dropout
from barbench.models.efficient.kernels import use_fused
from barbench.models.efficient.norms import LayerNorm
from barbench.models.positions import sincos_1d, sincos_2d
from barbench.spec.backbone import HeadSpec


class DecoderLayer(nn.Module):
    """Self-attention over patches, cross-attention to words, and an MLP, each pre-norm with a residual connection.

    As in CRIS, the output of each part is normalized once more before it is added.

    Args:
        width: channels of the patches.
        text_width: channels of the text features.
        heads: attention heads of both attentions.
        ffn: hidden channels of the MLP.
        dropout: dropout probability, of features and attention weights.
    """

    def __init__(self, width: int, text_width: int, heads: int, ffn: int, dropout: float) -> None:
        super().__init__()
        self.self_attn_norm = LayerNorm(width)
        self.cross_attn_norm = LayerNorm(width)
        self.self_attn = nn.MultiheadAttention(width, heads, dropout)
        self.multihead_attn = nn.MultiheadAttention(width, heads, dropout, kdim=text_width, vdim=text_width)
        self.ffn = nn.Sequential(
            nn.Linear(width, ffn), nn.ReLU(inplace=True), Dropout(dropout), LayerNorm(ffn), nn.Linear(ffn, width)
        )
        self.norm1 = LayerNorm(width)
        self.norm2 = LayerNorm(width)
        self.norm3 = LayerNorm(width)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, text: Tensor, positions: Tensor, keys: Tensor, attend: Tensor) -> Tensor:
        """One layer.

        Args:
            x: patches (B, N, width).
            text: text features (B, L, text_width), the values of the cross-attention.
            positions: positional encodings of the patches (N, width).
            keys: text features with their positional encodings (B, L, text_width).
            attend: attend mask (B, 1, 1, L), True = a word, False = padding.

        Returns:
            (B, N, width).
        """
        # Self-attention: global context. Positions enter queries and keys, not values.
        h = self.norm1(x)
        q = h + positions.to(h.dtype)
        x = x + self.dropout(self.self_attn_norm(multihead(self.self_attn, q, q, h)))
        if use_fused():  # a GPU has the memory, and each kernel computed again is launched again
            return self._cross_and_mlp(x, text, positions, keys, attend)
        rest: Tensor = checkpoint(self._cross_and_mlp, x, text, positions, keys, attend, use_reentrant=False)
        return rest

    def _cross_and_mlp(self, x: Tensor, text: Tensor, positions: Tensor, keys: Tensor, attend: Tensor) -> Tensor:
        """Cross-attention and MLP, computed again in the backward pass: cheap in time, costly in saved activations."""
        # Cross-attention: patches are queries, words are keys and values, padding is hidden.
        h = self.norm2(x)
        h = h + positions.to(h.dtype)
        x = x + self.dropout(self.cross_attn_norm(multihead(self.multihead_attn, h, keys, text, attend)))
        # MLP of two layers.
        x = x + self.dropout(self.ffn(self.norm3(x)))
        return x


class Decoder(nn.Module):
    """The decoder of appendix C: from the neck's map and the words to F_mm.

    Args:
        spec: width, heads, ffn, layers and dropout.
        text_width: channels of the text features.
        grid: rows and columns of the map.
        context_length: longest text, in tokens.
    """

    def __init__(self, spec: HeadSpec, text_width: int, grid: tuple[int, int], context_length: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            DecoderLayer(spec.width, text_width, spec.heads, spec.ffn, spec.dropout) for _ in range(spec.layers)
        )
        self.norm = LayerNorm(spec.width)
        self.patch_positions: Tensor
        self.word_positions: Tensor
        self.register_buffer("patch_positions", sincos_2d(*grid, spec.width), persistent=False)
        self.register_buffer("word_positions", sincos_1d(context_length, text_width), persistent=False)

    def forward(self, query: Tensor, text: Tensor, pad: Tensor) -> Tensor:
        """Let every patch gather from the other patches and from the words.

        Args:
            query: map (B, width, H, W): the neck's F_c of Eq. 11, plus F_out^M where a method has GST.
            text: text features F_l (B, L, text_width).
            pad: (B, L), True where there is no word.

        Returns:
            F_mm, (B, width, H, W).
        """
        x = query.flatten(2).transpose(1, 2)
        keys = text + self.word_positions[: text.shape[1]]
        attend = ~pad[:, None, None]
        for layer in self.layers:
            x = layer(x, text, self.patch_positions, keys, attend)
        y: Tensor = self.norm(x)
        return y.transpose(1, 2).reshape(query.shape)


class NoDecoder(nn.Module):
    """What a linear head has in place of `Decoder`: nothing is changed."""

    def forward(self, query: Tensor, text: Tensor, pad: Tensor) -> Tensor:
        """The map itself, (B, width, H, W)."""
        return query
