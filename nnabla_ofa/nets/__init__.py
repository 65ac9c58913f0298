"""Networks as values: architectures and spaces, elastic families, fixed networks, and their registry."""

from .arch import Arch, Space
from .elastic.mobilenetv3 import MobileNetV3
from .elastic.proxylessnas import ProxylessNAS
from .elastic.resnet20 import ResNet20
from .elastic.resnet50 import OfaResNet50
from .elastic.xception import Xception
from .registry import Config, ElasticConfig, Fixed, config_class, net_config

__all__ = ["Arch", "Config", "ElasticConfig", "Fixed", "MobileNetV3", "OfaResNet50",
           "ProxylessNAS", "ResNet20", "Space", "Xception", "config_class", "net_config"]
