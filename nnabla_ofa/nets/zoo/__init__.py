"""Fixed networks: one file a family, one `Entry` a network."""

from typing import Dict

from . import (
    attention_cifar,
    inception_cifar,
    inception_v4_cifar,
    nasnet_cifar,
    pnasnet_cifar,
    resnet_cifar,
    rir_cifar,
    vit_cifar,
    xception,
)
from .entry import Entry, torch_keys

__all__ = ["ZOO", "Entry", "torch_keys"]

ZOO: Dict[str, Entry] = {
    **attention_cifar.NETWORKS,
    **inception_cifar.NETWORKS,
    **inception_v4_cifar.NETWORKS,
    **nasnet_cifar.NETWORKS,
    **pnasnet_cifar.NETWORKS,
    **resnet_cifar.NETWORKS,
    **rir_cifar.NETWORKS,
    **vit_cifar.NETWORKS,
    **xception.NETWORKS,
}
