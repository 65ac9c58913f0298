"""Once-for-All elastic networks on NNabla: train one supernet, take thousands of networks out of it.

    import nnabla_ofa as ofa
    net = ofa.load("weights.h5")
    net.logits(images, "XP1 7x7 3")
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, List

from .version import VERSION as __version__

if TYPE_CHECKING:
    from .errors import OfaError
    from .formats import load
    from .model import FixedNetwork, Network, create, zoo
    from .nets import Arch, Fixed, MobileNetV3, OfaResNet50, ProxylessNAS, ResNet20, Space, Xception

__all__ = ["Arch", "Fixed", "FixedNetwork", "MobileNetV3", "Network", "OfaError", "OfaResNet50",
           "ProxylessNAS", "ResNet20", "Space", "Xception",
           "__version__", "create", "load", "zoo"]

# The names above by package. A package is imported at the first use of such a name: NNabla takes a second,
# in which Ctrl-C and a closed terminal already have to be dealt with (__main__.py).
_PACKAGES = {"OfaError": "errors", "load": "formats", "FixedNetwork": "model", "Network": "model",
             "create": "model", "zoo": "model", "Arch": "nets", "Fixed": "nets", "MobileNetV3": "nets",
             "OfaResNet50": "nets", "ProxylessNAS": "nets", "ResNet20": "nets",
             "Space": "nets", "Xception": "nets"}

if not TYPE_CHECKING:
    def __getattr__(name: str) -> Any:
        if name not in _PACKAGES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f".{_PACKAGES[name]}", __name__), name)

    def __dir__() -> List[str]:
        return sorted({*globals(), *__all__})
