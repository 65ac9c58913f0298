"""Fixed networks: one file a family, one `Entry` a network."""

from typing import Dict

from . import resnet_cifar
from .entry import Entry, torch_keys

__all__ = ["ZOO", "Entry", "torch_keys"]

ZOO: Dict[str, Entry] = {
    **resnet_cifar.NETWORKS,
}
