"""Attention on `scaled_dot_product_attention`, with the weights where `nn.MultiheadAttention` keeps them."""

import torch.nn.functional as F
from torch import Tensor, nn

from barbench.models.efficient.dropout import attend_dropped
from barbench.models.efficient.kernels import use_fused


def attend(q: Tensor, k: Tensor, v: Tensor, heads: int, mask: Tensor | None = None, dropout: float = 0.0) -> Tensor:
    """Scaled dot-product attention in `heads` heads.

    Args:
        q: queries (B, T, D), D = heads * d.
        k: keys (B, S, D).
        v: values (B, S, D).
        heads: number of heads.
        mask: attend mask, broadcastable to (B, heads, T, S): boolean (True = attend) or additive; None: no mask.
        dropout: probability with which an attention weight is set to zero. With `low_memory` kernels on a CPU the mask
            must be boolean or None.

    Returns:
        (B, T, D), the heads side by side, before any output projection.
    """
    q = _split_heads(q, heads)
    k = _split_heads(k, heads)
    v = _split_heads(v, heads)
    # CUDA has a fused kernel for attention with dropout; elsewhere torch saves three fp32 maps of T x S.
    if dropout and q.device.type != "cuda" and not use_fused():
        return attend_dropped(q, k, v, mask, dropout).transpose(1, 2).flatten(2)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout).transpose(1, 2).flatten(2)


def _split_heads(t: Tensor, heads: int) -> Tensor:
    """(B, T, heads * d) -> (B, heads, T, d)."""
    return t.view(*t.shape[:2], heads, -1).transpose(1, 2)


def multihead(
    attn: nn.MultiheadAttention, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None
) -> Tensor:
    """Attention with the weights of `attn` on batch-first tensors.

    The module only holds the weights, in the layout of checkpoints: packed, or separate where kdim differs from D. Its
    own forward pass is not used.

    Args:
        attn: the weights; its dropout applies in training mode.
        query: (B, T, D).
        key: (B, S, kdim).
        value: (B, S, vdim).
        mask: as for `attend`.

    Returns:
        (B, T, D), after the output projection.
    """
    # torch keeps the three maps apart where keys or values are of another width.
    if attn.in_proj_weight is not None:
        w_q, w_k, w_v = attn.in_proj_weight.chunk(3)
    else:
        w_q = attn.q_proj_weight
        w_k = attn.k_proj_weight
        w_v = attn.v_proj_weight
    b_q, b_k, b_v = attn.in_proj_bias.chunk(3)
    q = F.linear(query, w_q, b_q)
    k = F.linear(key, w_k, b_k)
    v = F.linear(value, w_v, b_v)
    dropout = attn.dropout if attn.training else 0.0
    out: Tensor = attn.out_proj(attend(q, k, v, attn.num_heads, mask, dropout))
    return out
