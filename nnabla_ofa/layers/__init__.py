"""Layers of a network, one class a file: each knows its parameters, its graph, its cost and its slices.

    ConvBn         convolution kxk / stride, BN, [+ residual], [activation]
    Separable      [ReLU], depthwise kxk, pointwise, BN, [+ residual], [ReLU]
    Depthwise      depthwise kxk / stride, BN, [activation]
    SqueezeExcite  a factor for each channel, from the mean over the image
    Residual       units of these, [max-pool 3x3/2], [+ (skip convolution or identity)]
    FeatureMix     global mean, 1x1, activation
    Linear         global mean, dropout, affine
    MaxPool, Absent  without parameters

Fixed networks are built of functional.py's functions, over Conv, BatchNorm, Dense and Linear.

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
from .depthwise import Depthwise
from .feature_mix import FeatureMix
from .linear import Linear
from .plain import Absent, MaxPool
from .residual import Residual
from .separable import Separable
from .squeeze_excite import SqueezeExcite

__all__ = ["Absent", "Arrays", "ConvBn", "Cost", "Depthwise", "FeatureMix", "Layer", "Linear", "MaxPool",
           "Mode", "Noise", "Owner", "Parameter", "Part", "Residual", "Separable", "SqueezeExcite",
           "Statistics", "fast_by_default", "generator_of", "initial_value", "on_cpu", "parameters",
           "signature", "to_trunk"]
