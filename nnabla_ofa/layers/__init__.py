"""Layers of a network, one class a file: each knows its parameters, its graph, its cost and its slices.

    ConvBn     convolution kxk / stride, BN, [+ residual], [ReLU]
    Separable  [ReLU], depthwise kxk, pointwise, BN, [+ residual], [ReLU]
    Residual   units of one of these, [max-pool 3x3/2], + (skip convolution or identity)
    Linear     global mean, dropout, affine

A network of an elastic family is a tuple of these values (nets/). A layer knows its full widths (the
shape of the stored weights) and its active ones. The active channels are the first ones, so a subnet
reads W[:w_out, :w_in] of the shared weights. base.py has what all of them share; fused.py says which of
them are fused functions on the CPU.
"""

from .base import (
    Arrays,
    Cost,
    Layer,
    Mode,
    Noise,
    Owner,
    Parameter,
    Part,
    Statistics,
    fast_by_default,
    generator_of,
    initial_value,
    on_cpu,
    parameters,
    signature,
    to_trunk,
)
from .conv_bn import ConvBn
from .linear import Linear
from .residual import Residual
from .separable import Separable

__all__ = ["Arrays", "ConvBn", "Cost", "Layer", "Linear", "Mode", "Noise", "Owner", "Parameter", "Part",
           "Residual", "Separable", "Statistics", "fast_by_default", "generator_of", "initial_value",
           "on_cpu", "parameters", "signature", "to_trunk"]
