"""What the functions outside blocks compute, in float64 NumPy; trunks are (C, H, W, N)."""

from __future__ import annotations

import numpy as np


def unfolded(x, kernel, stride, pad, fill=0.0):
    """(C, k, l, H', W', N): what each tap meets."""
    x = np.pad(x, ((0, 0), (pad[0],) * 2, (pad[1],) * 2, (0, 0)), constant_values=fill)
    sides = [(size - k) // s + 1 for size, k, s in zip(x.shape[1:3], kernel, stride)]
    found = np.empty((x.shape[0], *kernel, *sides, x.shape[3]))
    for i in range(kernel[0]):
        for j in range(kernel[1]):
            found[:, i, j] = x[:, i:i + stride[0] * sides[0]:stride[0], j:j + stride[1] * sides[1]:stride[1]]
    return found


def folded(columns, shape, stride, pad):
    """The adjoint of `unfolded`: gradients of what each tap met, summed."""
    c, height, width, n = shape
    x = np.zeros((c, height + 2 * pad[0], width + 2 * pad[1], n))
    _, tall, wide, rows, cols, _ = columns.shape
    for i in range(tall):
        for j in range(wide):
            x[:, i:i + stride[0] * rows:stride[0], j:j + stride[1] * cols:stride[1]] += columns[:, i, j]
    return x[:, pad[0]:pad[0] + height, pad[1]:pad[1] + width]


def convolution(x, weight, bias=None, stride=(1, 1), pad=(0, 0), groups=1):
    """y, and a function from dy to the gradients of x, weight and bias."""
    kernel = weight.shape[2:]
    columns = np.split(unfolded(x, kernel, stride, pad), groups)
    weights = np.split(weight, groups)
    y = np.concatenate([np.einsum("oikl,iklyxn->oyxn", w, c, optimize=True)
                        for w, c in zip(weights, columns)])
    if bias is not None:
        y = y + bias.reshape(-1, 1, 1, 1)

    def gradients(dy):
        parts = np.split(dy, groups)
        d_columns = np.concatenate([np.einsum("oikl,oyxn->iklyxn", w, d, optimize=True)
                                    for w, d in zip(weights, parts)])
        d_weight = np.concatenate([np.einsum("oyxn,iklyxn->oikl", d, c, optimize=True)
                                   for d, c in zip(parts, columns)])
        return folded(d_columns, x.shape, stride, pad), d_weight, dy.sum(axis=(1, 2, 3))

    return y, gradients


def _sigmoid(x):
    return 1 / (1 + np.exp(-x))


ACTIVATIONS = {
    "none": lambda x: x,
    "relu": lambda x: np.maximum(x, 0),
    "relu6": lambda x: np.clip(x, 0, 6),
    "sigmoid": _sigmoid,
    "hard_sigmoid": lambda x: np.clip(x + 3, 0, 6) / 6,
    "swish": lambda x: x * _sigmoid(x),
    "hard_swish": lambda x: x * np.clip(x + 3, 0, 6) / 6,
    "gelu": lambda x: 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x ** 3))),
}


def slope(name, x, step=1e-6):
    """The activation's derivative, by a central difference."""
    return (ACTIVATIONS[name](x + step) - ACTIVATIONS[name](x - step)) / (2 * step)


def normalize(z, gamma, beta, residual, name, eps, statistics=None):
    """y, mean, variance, and a function from dy to the gradients of z, gamma, beta and the residual."""
    mean = z.mean(axis=(1, 2, 3)) if statistics is None else statistics[0]
    variance = z.var(axis=(1, 2, 3)) if statistics is None else statistics[1]
    column = (-1, 1, 1, 1)
    inverse = 1 / np.sqrt(variance + eps).reshape(column)
    centred = (z - mean.reshape(column)) * inverse
    seen = centred * gamma.reshape(column) + beta.reshape(column) + residual

    def gradients(dy):
        g = dy * slope(name, seen)
        d_gamma, d_beta = (g * centred).sum(axis=(1, 2, 3)), g.sum(axis=(1, 2, 3))
        d_centred = g * gamma.reshape(column)
        dz = d_centred * inverse
        if statistics is None:
            count = z[0].size
            dz = inverse * (d_centred - d_centred.mean(axis=(1, 2, 3), keepdims=True)
                            - centred * (d_centred * centred).sum(axis=(1, 2, 3), keepdims=True) / count)
        return dz, d_gamma, d_beta, g

    return ACTIVATIONS[name](seen), mean, variance, gradients
