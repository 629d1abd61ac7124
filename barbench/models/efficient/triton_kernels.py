"""Kernels in Triton: a planar flow and a LayerNorm, each read once and written once per direction.

They were run in Triton's interpreter and compiled for sm_90, on a machine without a GPU; the tests of
`pytest -m gpu` are the first that run them on one. Rows are tokens (T), columns channels (D), padded to a power of two.
Sums over rows are kept per program and added up afterwards, so that results do not depend on the order of programs.
"""

import triton
import triton.language as tl


@triton.jit
def planar_forward(x, mu, log_sigma, gamma, beta, lam, y, moves, rows, width, length: tl.constexpr, lines: tl.constexpr,
                   block: tl.constexpr, kind: tl.constexpr):  # fmt: skip
    """y = f_J o ... o f_1 (exp(log_sigma) x + mu), f_j: z + lam_j tanh(gamma_j . z + beta_j); moves: the tanh's."""
    row, column = tl.program_id(0) * lines + tl.arange(0, lines), tl.arange(0, block)
    inside = column < width
    at = row[:, None].to(tl.int64) * width + column[None, :]
    mask = (row < rows)[:, None] & inside[None, :]
    scale = tl.exp(tl.load(log_sigma + column, mask=inside, other=0.0).to(kind))
    shift = tl.load(mu + column, mask=inside, other=0.0).to(kind)
    z = tl.load(x + at, mask=mask, other=0.0).to(kind) * scale[None, :] + shift[None, :]
    z = tl.where(mask, z, 0.0)
    for j in tl.static_range(length):
        inner = tl.load(gamma + j * width + column, mask=inside, other=0.0).to(kind)
        argument = tl.sum(z * inner[None, :], 1) + tl.load(beta + j).to(kind)
        move = 2 * tl.sigmoid(2 * argument) - 1  # tanh
        tl.store(moves + row * length + j, move, mask=row < rows)
        z += move[:, None] * tl.load(lam + j * width + column, mask=inside, other=0.0).to(kind)[None, :]
    tl.store(y + at, z, mask=mask)


@triton.jit
def planar_backward(grad, x, mu, log_sigma, gamma, lam, moves, x_grad, sums, rows, width, length: tl.constexpr,
                    slots: tl.constexpr, lines: tl.constexpr, block: tl.constexpr, kind: tl.constexpr):  # fmt: skip
    """Gradient of x; per program the sums for mu, log_sigma, J gamma, J lam and, in a row, beta: (P, 3 + 2J, D)."""
    column, number = tl.arange(0, block), tl.arange(0, slots)
    inside = column < width
    scale = tl.exp(tl.load(log_sigma + column, mask=inside, other=0.0).to(kind))
    shift = tl.load(mu + column, mask=inside, other=0.0).to(kind)
    mu_sum, sigma_sum = tl.zeros([block], kind), tl.zeros([block], kind)
    gamma_sum, lam_sum, beta_sum = (
        tl.zeros([slots, block], kind),
        tl.zeros([slots, block], kind),
        tl.zeros([slots], kind),
    )
    for first in range(tl.program_id(0) * lines, rows, tl.num_programs(0) * lines):
        row = first + tl.arange(0, lines)
        at = row[:, None].to(tl.int64) * width + column[None, :]
        mask = (row < rows)[:, None] & inside[None, :]
        tokens = tl.load(x + at, mask=mask, other=0.0).to(kind)
        g = tl.load(grad + at, mask=mask, other=0.0).to(kind)
        z = tokens * scale[None, :] + shift[None, :]
        for j in tl.static_range(length):  # the last transform's output, from which each one's input follows
            move = tl.load(moves + row * length + j, mask=row < rows, other=0.0).to(kind)
            z += move[:, None] * tl.load(lam + j * width + column, mask=inside, other=0.0).to(kind)[None, :]
        for back in tl.static_range(length):
            j = length - 1 - back
            here = (number == j)[:, None]
            move = tl.load(moves + row * length + j, mask=row < rows, other=0.0).to(kind)
            outer = tl.load(lam + j * width + column, mask=inside, other=0.0).to(kind)
            z -= move[:, None] * outer[None, :]
            argument = tl.sum(g * outer[None, :], 1) * (1 - move * move)
            lam_sum += tl.where(here, tl.sum(move[:, None] * g, 0)[None, :], 0.0)
            gamma_sum += tl.where(here, tl.sum(argument[:, None] * z, 0)[None, :], 0.0)
            beta_sum += tl.where(number == j, tl.sum(argument, 0), 0.0)
            g += argument[:, None] * tl.load(gamma + j * width + column, mask=inside, other=0.0).to(kind)[None, :]
        mu_sum += tl.sum(g, 0)
        sigma_sum += tl.sum(g * tokens, 0) * scale
        tl.store(x_grad + at, g * scale[None, :], mask=mask)
    base = sums + tl.program_id(0).to(tl.int64) * (3 + 2 * length) * width
    tl.store(base + column, mu_sum, mask=inside)
    tl.store(base + width + column, sigma_sum, mask=inside)
    many = (number < length)[:, None] & inside[None, :]
    tl.store(base + (2 + number)[:, None] * width + column[None, :], gamma_sum, mask=many)
    tl.store(base + (2 + length + number)[:, None] * width + column[None, :], lam_sum, mask=many)
    tl.store(base + (2 + 2 * length) * width + number, beta_sum, mask=number < length)


@triton.jit
def norm_forward(x, weight, bias, y, mean, spread, rows, width, eps, lines: tl.constexpr, block: tl.constexpr,
                 kind: tl.constexpr):  # fmt: skip
    """y = (x - mean) / sqrt(var + eps) * weight + bias over the columns; `spread` is 1 / sqrt(var + eps)."""
    row, column = tl.program_id(0) * lines + tl.arange(0, lines), tl.arange(0, block)
    inside = column < width
    at = row[:, None].to(tl.int64) * width + column[None, :]
    mask = (row < rows)[:, None] & inside[None, :]
    tokens = tl.load(x + at, mask=mask, other=0.0).to(kind)
    middle = tl.sum(tokens, 1) / width
    away = tl.where(mask, tokens - middle[:, None], 0.0)
    inverse = 1 / tl.sqrt(tl.sum(away * away, 1) / width + eps)
    tl.store(mean + row, middle, mask=row < rows)
    tl.store(spread + row, inverse, mask=row < rows)
    slope = tl.load(weight + column, mask=inside, other=0.0).to(kind)
    start = tl.load(bias + column, mask=inside, other=0.0).to(kind)
    tl.store(y + at, away * inverse[:, None] * slope[None, :] + start[None, :], mask=mask)


@triton.jit
def norm_backward(grad, x, weight, mean, spread, x_grad, sums, rows, width, tuned: tl.constexpr, lines: tl.constexpr,
                  block: tl.constexpr, kind: tl.constexpr):  # fmt: skip
    """Gradient of x and, with tuned, per program the sums for weight and bias: (P, 2, D)."""
    column = tl.arange(0, block)
    inside = column < width
    slope = tl.load(weight + column, mask=inside, other=0.0).to(kind)
    weight_sum, bias_sum = tl.zeros([block], kind), tl.zeros([block], kind)
    for first in range(tl.program_id(0) * lines, rows, tl.num_programs(0) * lines):
        row = first + tl.arange(0, lines)
        at = row[:, None].to(tl.int64) * width + column[None, :]
        mask = (row < rows)[:, None] & inside[None, :]
        middle = tl.load(mean + row, mask=row < rows, other=0.0).to(kind)
        inverse = tl.load(spread + row, mask=row < rows, other=0.0).to(kind)
        g = tl.load(grad + at, mask=mask, other=0.0).to(kind)
        unit = (tl.load(x + at, mask=mask, other=0.0).to(kind) - middle[:, None]) * inverse[:, None]
        unit = tl.where(mask, unit, 0.0)
        if tuned:
            weight_sum += tl.sum(g * unit, 0)
            bias_sum += tl.sum(g, 0)
        g = g * slope[None, :]
        along, constant = tl.sum(g * unit, 1) / width, tl.sum(g, 1) / width
        tl.store(x_grad + at, (g - unit * along[:, None] - constant[:, None]) * inverse[:, None], mask=mask)
    if tuned:
        base = sums + tl.program_id(0).to(tl.int64) * 2 * width
        tl.store(base + column, weight_sum, mask=inside)
        tl.store(base + width + column, bias_sum, mask=inside)
