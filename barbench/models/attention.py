"""Attention on `scaled_dot_product_attention`, with the weights where `nn.MultiheadAttention` keeps them."""

import torch.nn.functional as F
from torch import Tensor, nn

from barbench.models.efficient.dropout import attend_dropped


def attend(q: Tensor, k: Tensor, v: Tensor, heads: int, mask: Tensor | None = None, dropout: float = 0.0) -> Tensor:
    """Scaled dot-product attention in `heads` heads: q (B, T, D), k and v (B, S, D) -> (B, T, D).

    mask: additive or boolean (True = look), broadcastable to (B, heads, T, S).
    """
    q, k, v = (t.view(*t.shape[:2], heads, -1).transpose(1, 2) for t in (q, k, v))
    if dropout and q.device.type != "cuda":  # which has a fused kernel for it
        return attend_dropped(q, k, v, mask, dropout).transpose(1, 2).flatten(2)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout).transpose(1, 2).flatten(2)


def multihead(
    attn: nn.MultiheadAttention, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None
) -> Tensor:
    """`attn` (without its own mask handling) on batch-first tensors: query (B, T, D), key and value (B, S, kdim) ->
    (B, T, D).

    The module only holds the weights, in the layout of checkpoints: packed, or apart where kdim differs from D.
    """
    if attn.in_proj_weight is not None:
        w_q, w_k, w_v = attn.in_proj_weight.chunk(3)
    else:
        w_q, w_k, w_v = attn.q_proj_weight, attn.k_proj_weight, attn.v_proj_weight
    b_q, b_k, b_v = attn.in_proj_bias.chunk(3)
    q, k, v = F.linear(query, w_q, b_q), F.linear(key, w_k, b_k), F.linear(value, w_v, b_v)
    out: Tensor = attn.out_proj(attend(q, k, v, attn.num_heads, mask, attn.dropout if attn.training else 0.0))
    return out
