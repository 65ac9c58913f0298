"""Once-for-All elastic networks on NNabla: train one supernet, take thousands of networks out of it.

    import nnabla_ofa as ofa
    net = ofa.load("weights.h5")
    net.logits(images, "XP1 7x7 3")
"""

from __future__ import annotations

from .arch import Arch, Space
from .errors import OfaError
from .loading import load
from .nets import ResNet20, Xception
from .supernet import Network

__version__ = "0.1.0"
__all__ = ["Arch", "Network", "OfaError", "ResNet20", "Space", "Xception", "load"]
