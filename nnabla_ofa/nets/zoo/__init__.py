"""Fixed networks: one file a family, one `Entry` a network."""

from typing import Dict

from . import (
    attention_cifar,
    densenet_cifar,
    dla_cifar,
    dpn_cifar,
    efficientnet,
    googlenet_cifar,
    inception_cifar,
    inception_v4_cifar,
    lenet_cifar,
    mobilenet_cifar,
    nasnet_cifar,
    pnasnet_cifar,
    resnet_cifar,
    rir_cifar,
    shufflenet_cifar,
    squeezenet_cifar,
    vgg_cifar,
    vit_cifar,
    xception,
)
from .entry import Entry, torch_keys

__all__ = ["ZOO", "Entry", "torch_keys"]

ZOO: Dict[str, Entry] = {
    **attention_cifar.NETWORKS,
    **densenet_cifar.NETWORKS,
    **dla_cifar.NETWORKS,
    **dpn_cifar.NETWORKS,
    **efficientnet.NETWORKS,
    **googlenet_cifar.NETWORKS,
    **inception_cifar.NETWORKS,
    **inception_v4_cifar.NETWORKS,
    **lenet_cifar.NETWORKS,
    **mobilenet_cifar.NETWORKS,
    **nasnet_cifar.NETWORKS,
    **pnasnet_cifar.NETWORKS,
    **resnet_cifar.NETWORKS,
    **rir_cifar.NETWORKS,
    **shufflenet_cifar.NETWORKS,
    **squeezenet_cifar.NETWORKS,
    **vgg_cifar.NETWORKS,
    **vit_cifar.NETWORKS,
    **xception.NETWORKS,
}
