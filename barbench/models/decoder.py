"""Vision-language decoder (appendix C): patches attend to each other, then to the words."""

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from barbench.models.attention import multihead
from barbench.models.efficient.dropout import Dropout
from barbench.models.positions import sincos_1d, sincos_2d
from barbench.models.towers.configs import HeadSpec


class DecoderLayer(nn.Module):
    """Self-attention, cross-attention and FFN, each pre-norm, each normalised once more before it is added (as CRIS
    has it)."""

    def __init__(self, width: int, words: int, heads: int, ffn: int, dropout: float) -> None:
        super().__init__()
        self.self_attn_norm, self.cross_attn_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.self_attn = nn.MultiheadAttention(width, heads, dropout)
        self.multihead_attn = nn.MultiheadAttention(width, heads, dropout, kdim=words, vdim=words)
        self.ffn = nn.Sequential(
            nn.Linear(width, ffn), nn.ReLU(inplace=True), Dropout(dropout), nn.LayerNorm(ffn), nn.Linear(ffn, width)
        )
        self.norm1, self.norm2, self.norm3 = nn.LayerNorm(width), nn.LayerNorm(width), nn.LayerNorm(width)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, words: Tensor, places: Tensor, keys: Tensor, look: Tensor) -> Tensor:
        """x (B, N, width), words and keys (words with positions) (B, L, D), places (N, width), look (B, 1, 1, L) ->
        (B, N, width)."""
        h = self.norm1(x)
        q = h + places
        x = x + self.dropout(self.self_attn_norm(multihead(self.self_attn, q, q, h)))
        rest: Tensor = checkpoint(self._across, x, words, places, keys, look, use_reentrant=False)
        return rest

    def _across(self, x: Tensor, words: Tensor, places: Tensor, keys: Tensor, look: Tensor) -> Tensor:
        """Cross-attention and FFN, computed again in the backward pass: they are cheap and keep much."""
        h = self.norm2(x) + places
        x = x + self.dropout(self.cross_attn_norm(multihead(self.multihead_attn, h, keys, words, look)))
        x = x + self.dropout(self.ffn(self.norm3(x)))
        return x


class Decoder(nn.Module):
    """F_mm of appendix C, from the neck's map and the words."""

    def __init__(self, spec: HeadSpec, words: int, grid: tuple[int, int], context: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            DecoderLayer(spec.width, words, spec.heads, spec.ffn, spec.dropout) for _ in range(spec.layers)
        )
        self.norm = nn.LayerNorm(spec.width)
        self.places: Tensor
        self.turns: Tensor
        self.register_buffer("places", sincos_2d(*grid, spec.width), persistent=False)
        self.register_buffer("turns", sincos_1d(context, words), persistent=False)

    def forward(self, query: Tensor, words: Tensor, pad: Tensor) -> Tensor:
        """query (B, width, H, W), words (B, L, D), pad (B, L) True = no word -> (B, width, H, W)."""
        x = query.flatten(2).transpose(1, 2)
        keys, look = words + self.turns[: words.shape[1]], ~pad[:, None, None]
        for layer in self.layers:
            x = layer(x, words, self.places, keys, look)
        y: Tensor = self.norm(x)
        return y.transpose(1, 2).reshape(query.shape)
