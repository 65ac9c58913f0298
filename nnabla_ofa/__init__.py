"""Once-for-All elastic networks on NNabla: train one supernet, take thousands of networks out of it.

    import nnabla_ofa as ofa
    net = ofa.load("weights.h5")
    net.logits(images, "XP1 7x7 3")
"""

from __future__ import annotations

from .errors import OfaError
from .formats import load
from .model import FixedNetwork, Network, create
from .nets import Arch, Fixed, ResNet20, Space, Xception
from .version import VERSION as __version__

__all__ = ["Arch", "Fixed", "FixedNetwork", "Network", "OfaError", "ResNet20", "Space", "Xception",
           "__version__", "create", "load"]
