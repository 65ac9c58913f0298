"""Fixed networks: one file a family, one `Entry` a network."""

from typing import Dict

from . import (
    densenet_cifar,
    dla_cifar,
    dpn_cifar,
    efficientnet,
    googlenet_cifar,
    lenet_cifar,
    mobilenet_cifar,
    resnet_cifar,
    shufflenet_cifar,
    squeezenet_cifar,
    vgg_cifar,
)
from .entry import Entry, torch_keys

__all__ = ["ZOO", "Entry", "torch_keys"]

ZOO: Dict[str, Entry] = {
    **densenet_cifar.NETWORKS,
    **dla_cifar.NETWORKS,
    **dpn_cifar.NETWORKS,
    **efficientnet.NETWORKS,
    **googlenet_cifar.NETWORKS,
    **lenet_cifar.NETWORKS,
    **mobilenet_cifar.NETWORKS,
    **resnet_cifar.NETWORKS,
    **shufflenet_cifar.NETWORKS,
    **squeezenet_cifar.NETWORKS,
    **vgg_cifar.NETWORKS,
}
