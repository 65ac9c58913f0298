"""Fixed networks: one file a family, one `Entry` a network."""

from typing import Dict

from . import (
    anynet,
    attention_resnext_cifar,
    preact_cifar,
    resnet_cifar,
    resnext_cifar,
    seresnet_cifar,
    shake_cifar,
    stochastic_depth_cifar,
    wideresnet_cifar,
)
from .entry import Entry, torch_keys

__all__ = ["ZOO", "Entry", "torch_keys"]

ZOO: Dict[str, Entry] = {
    **anynet.NETWORKS,
    **attention_resnext_cifar.NETWORKS,
    **preact_cifar.NETWORKS,
    **resnet_cifar.NETWORKS,
    **resnext_cifar.NETWORKS,
    **seresnet_cifar.NETWORKS,
    **shake_cifar.NETWORKS,
    **stochastic_depth_cifar.NETWORKS,
    **wideresnet_cifar.NETWORKS,
}
