"""Kernels in Triton: a planar flow and a LayerNorm, each read once and written once per direction.

They were run in Triton's interpreter and compiled for sm_90, on a machine without a GPU; the tests of
`pytest -m gpu` are the first that run them on one. Rows are tokens (T), columns channels (D), padded to a power of two.
Sums over rows are kept per program and added up afterwards, so that results do not depend on the order of programs.

In all kernels `lines` is the number of rows that a program holds at a time, `block` the padded number of columns, and
`dtype` what is computed in.
"""

import triton
import triton.language as tl


@triton.jit
def planar_forward(
    x,
    mu,
    log_sigma,
    gamma,
    beta,
    lam,
    y,
    moves,
    rows,
    width,
    length: tl.constexpr,
    lines: tl.constexpr,
    block: tl.constexpr,
    dtype: tl.constexpr,
):
    """y = f_J o ... o f_1 (exp(log_sigma) x + mu), f_j: z + lam_j tanh(gamma_j . z + beta_j);

    moves: the tanh's (T, J).
    """
    row = tl.program_id(0) * lines + tl.arange(0, lines)
    column = tl.arange(0, block)
    row_mask = row < rows
    column_mask = column < width
    offset = row[:, None].to(tl.int64) * width + column[None, :]
    mask = row_mask[:, None] & column_mask[None, :]
    # The affine map.
    scale = tl.exp(tl.load(log_sigma + column, mask=column_mask, other=0.0).to(dtype))
    shift = tl.load(mu + column, mask=column_mask, other=0.0).to(dtype)
    tokens = tl.load(x + offset, mask=mask, other=0.0).to(dtype)
    z = tokens * scale[None, :] + shift[None, :]
    z = tl.where(mask, z, 0.0)
    # The transforms, one after the other.
    for j in tl.static_range(length):
        gamma_j = tl.load(gamma + j * width + column, mask=column_mask, other=0.0).to(dtype)
        lam_j = tl.load(lam + j * width + column, mask=column_mask, other=0.0).to(dtype)
        argument = tl.sum(z * gamma_j[None, :], 1) + tl.load(beta + j).to(dtype)
        move = 2 * tl.sigmoid(2 * argument) - 1  # tanh
        tl.store(moves + row * length + j, move, mask=row_mask)
        z += move[:, None] * lam_j[None, :]
    tl.store(y + offset, z, mask=mask)


@triton.jit
def planar_backward(
    grad,
    x,
    mu,
    log_sigma,
    gamma,
    lam,
    moves,
    x_grad,
    sums,
    rows,
    width,
    length: tl.constexpr,
    slots: tl.constexpr,
    lines: tl.constexpr,
    block: tl.constexpr,
    dtype: tl.constexpr,
):
    """Gradient of x; per program the sums for mu, log_sigma, J gamma, J lam and, in a row, beta: (P, 3 + 2J, D).

    `slots` is J, padded to a power of two.
    """
    column = tl.arange(0, block)
    slot = tl.arange(0, slots)
    column_mask = column < width
    scale = tl.exp(tl.load(log_sigma + column, mask=column_mask, other=0.0).to(dtype))
    shift = tl.load(mu + column, mask=column_mask, other=0.0).to(dtype)
    mu_sum = tl.zeros([block], dtype)
    sigma_sum = tl.zeros([block], dtype)
    gamma_sum = tl.zeros([slots, block], dtype)
    lam_sum = tl.zeros([slots, block], dtype)
    beta_sum = tl.zeros([slots], dtype)
    for first in range(tl.program_id(0) * lines, rows, tl.num_programs(0) * lines):
        row = first + tl.arange(0, lines)
        row_mask = row < rows
        offset = row[:, None].to(tl.int64) * width + column[None, :]
        mask = row_mask[:, None] & column_mask[None, :]
        tokens = tl.load(x + offset, mask=mask, other=0.0).to(dtype)
        g = tl.load(grad + offset, mask=mask, other=0.0).to(dtype)
        # The last transform's output, from which each one's input follows.
        z = tokens * scale[None, :] + shift[None, :]
        for j in tl.static_range(length):
            move = tl.load(moves + row * length + j, mask=row_mask, other=0.0).to(dtype)
            lam_j = tl.load(lam + j * width + column, mask=column_mask, other=0.0).to(dtype)
            z += move[:, None] * lam_j[None, :]
        # Back through the transforms, the last one first.
        for back in tl.static_range(length):
            j = length - 1 - back
            move = tl.load(moves + row * length + j, mask=row_mask, other=0.0).to(dtype)
            lam_j = tl.load(lam + j * width + column, mask=column_mask, other=0.0).to(dtype)
            gamma_j = tl.load(gamma + j * width + column, mask=column_mask, other=0.0).to(dtype)
            z -= move[:, None] * lam_j[None, :]
            argument = tl.sum(g * lam_j[None, :], 1) * (1 - move * move)
            in_slot = (slot == j)[:, None]
            lam_sum += tl.where(in_slot, tl.sum(move[:, None] * g, 0)[None, :], 0.0)
            gamma_sum += tl.where(in_slot, tl.sum(argument[:, None] * z, 0)[None, :], 0.0)
            beta_sum += tl.where(slot == j, tl.sum(argument, 0), 0.0)
            g += argument[:, None] * gamma_j[None, :]
        mu_sum += tl.sum(g, 0)
        sigma_sum += tl.sum(g * tokens, 0) * scale
        tl.store(x_grad + offset, g * scale[None, :], mask=mask)
    # This program's block of sums.
    base = sums + tl.program_id(0).to(tl.int64) * (3 + 2 * length) * width
    tl.store(base + column, mu_sum, mask=column_mask)
    tl.store(base + width + column, sigma_sum, mask=column_mask)
    slot_mask = (slot < length)[:, None] & column_mask[None, :]
    gamma_rows = base + (2 + slot)[:, None] * width
    lam_rows = base + (2 + length + slot)[:, None] * width
    tl.store(gamma_rows + column[None, :], gamma_sum, mask=slot_mask)
    tl.store(lam_rows + column[None, :], lam_sum, mask=slot_mask)
    tl.store(base + (2 + 2 * length) * width + slot, beta_sum, mask=slot < length)


@triton.jit
def norm_forward(
    x,
    weight,
    bias,
    y,
    mean,
    rstd,
    rows,
    width,
    eps,
    lines: tl.constexpr,
    block: tl.constexpr,
    dtype: tl.constexpr,
):
    """y = (x - mean) rstd * weight + bias with rstd = 1 / sqrt(var + eps); mean and var are over the columns."""
    row = tl.program_id(0) * lines + tl.arange(0, lines)
    column = tl.arange(0, block)
    row_mask = row < rows
    column_mask = column < width
    offset = row[:, None].to(tl.int64) * width + column[None, :]
    mask = row_mask[:, None] & column_mask[None, :]
    tokens = tl.load(x + offset, mask=mask, other=0.0).to(dtype)
    row_mean = tl.sum(tokens, 1) / width
    centered = tl.where(mask, tokens - row_mean[:, None], 0.0)
    row_rstd = 1 / tl.sqrt(tl.sum(centered * centered, 1) / width + eps)
    tl.store(mean + row, row_mean, mask=row_mask)
    tl.store(rstd + row, row_rstd, mask=row_mask)
    weights = tl.load(weight + column, mask=column_mask, other=0.0).to(dtype)
    biases = tl.load(bias + column, mask=column_mask, other=0.0).to(dtype)
    tl.store(y + offset, centered * row_rstd[:, None] * weights[None, :] + biases[None, :], mask=mask)


@triton.jit
def norm_backward(
    grad,
    x,
    weight,
    mean,
    rstd,
    x_grad,
    sums,
    rows,
    width,
    tuned: tl.constexpr,
    lines: tl.constexpr,
    block: tl.constexpr,
    dtype: tl.constexpr,
):
    """Gradient of x and, with tuned, per program the sums for weight and bias: (P, 2, D)."""
    column = tl.arange(0, block)
    column_mask = column < width
    weights = tl.load(weight + column, mask=column_mask, other=0.0).to(dtype)
    weight_sum = tl.zeros([block], dtype)
    bias_sum = tl.zeros([block], dtype)
    for first in range(tl.program_id(0) * lines, rows, tl.num_programs(0) * lines):
        row = first + tl.arange(0, lines)
        row_mask = row < rows
        offset = row[:, None].to(tl.int64) * width + column[None, :]
        mask = row_mask[:, None] & column_mask[None, :]
        row_mean = tl.load(mean + row, mask=row_mask, other=0.0).to(dtype)
        row_rstd = tl.load(rstd + row, mask=row_mask, other=0.0).to(dtype)
        g = tl.load(grad + offset, mask=mask, other=0.0).to(dtype)
        # The normalized tokens, computed again.
        tokens = tl.load(x + offset, mask=mask, other=0.0).to(dtype)
        unit = (tokens - row_mean[:, None]) * row_rstd[:, None]
        unit = tl.where(mask, unit, 0.0)
        if tuned:
            weight_sum += tl.sum(g * unit, 0)
            bias_sum += tl.sum(g, 0)
        # The gradient of the normalized tokens, without its parts along them and along a constant.
        g = g * weights[None, :]
        along = tl.sum(g * unit, 1) / width
        constant = tl.sum(g, 1) / width
        inner = (g - unit * along[:, None] - constant[:, None]) * row_rstd[:, None]
        tl.store(x_grad + offset, inner, mask=mask)
    if tuned:
        base = sums + tl.program_id(0).to(tl.int64) * 2 * width
        tl.store(base + column, weight_sum, mask=column_mask)
        tl.store(base + width + column, bias_sum, mask=column_mask)
