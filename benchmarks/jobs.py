"""What is measured: networks, image sizes, batches; each as the plain dictionary that a worker takes."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from functools import partial
from typing import Any, Dict, Iterator, Mapping, Tuple

from nnabla_ofa import Fixed, MobileNetV3, OfaResNet50, Xception, create
from nnabla_ofa.layers import Cost
from nnabla_ofa.model import AnyNetwork
from nnabla_ofa.nets import Config, config_class, net_config

SPACE = "K357_E0.6+0.8+1_D123"
MOBILE_SPACE, RESNET_SPACE = "K357_E346_D234", "D012_E0.2+0.25+0.35_W0.65+0.8+1"
SUBNETS = {"largest": "XP1 7x7 3", "middle": "XP0.8 5x5 2", "smallest": "XP0.6 3x3 1"}
MOBILE_SUBNETS = {"largest": "K7_E6_D4", "smallest": "K3_E3_D2"}
RESNET_SUBNETS = {"largest": "D2_E0.35_W1", "smallest": "D0_E0.2_W0.65"}
TASKS = ("training", "evaluation")
# Twelve networks of the zoo for images of 32 pixels, by the names that the page shows.
ZOO = {name: f"{name}_{data}" for data, names in {
    "cifar": ("resnet18", "resnet50", "densenet121", "googlenet", "mobilenetv2", "shufflenetv2",
              "regnetx_200mf"),
    "cifar100": ("vgg16_bn", "seresnet18", "inceptionv3", "xception")}.items() for name in names}
ZOO["efficientnet_b0"] = "efficientnetb0_cifar"


@dataclass(frozen=True)
class Job:
    """A batch of `batch` square images of `image_size` pixels a side through one network.

    net: settings of its configuration, as `nets.net_config` takes them. space, subnet: names; of a fixed
    network, both its own.
    """

    task: str
    image_size: int
    batch: int
    net: Mapping[str, Any]
    space: str
    subnet: str

    def network(self) -> AnyNetwork:
        """The network with new weights."""
        return create(net_config(self.net), self.space)

    def cost(self) -> Cost:
        """Cost of the subnet on one image."""
        return self.network().cost(self.subnet, self.image_size)

    def request(self) -> dict:
        """As a worker takes it: its fields, and what a peer without NNabla builds the network from."""
        config = net_config(self.net)
        if isinstance(config, Fixed):
            build = config.entry.build
            function = build.func if isinstance(build, partial) else build
            return {**asdict(self), "module": function.__module__}
        space = config.space(self.space if self.task == "training" else self.subnet)
        return {**asdict(self), "layers": plain(config.layers(space, space.check(config.arch(self.subnet))))}


def plain(value: Any) -> Any:
    """Layers as JSON has them: their fields, and the name of their class as "type"."""
    if is_dataclass(value):
        return {"type": type(value).__name__,
                **{field.name: plain(getattr(value, field.name)) for field in fields(value)}}
    return [plain(one) for one in value] if isinstance(value, (tuple, list)) else value


def supernet(config: Config, space: str, image_size: int, batch: int) -> Job:
    """A training step of a supernet, its subnet still to be chosen."""
    return Job("training", image_size, batch, asdict(config), space, "")


# The stem's stride is 2 in both of Xception, so 32-pixel images are 2 pixels a side in the middle blocks.
SETTINGS = {
    "big": supernet(Xception(), SPACE, 128, 8),
    "cifar": supernet(Xception(width_mult=0.25, classes=10), SPACE, 32, 64),
    "mobilenetv3-big": supernet(MobileNetV3(), MOBILE_SPACE, 128, 8),
    "mobilenetv3-cifar": supernet(MobileNetV3(classes=10, width_mult=0.35, stem_stride=1,
                                              strides=(1, 2, 2, 1, 2)), MOBILE_SPACE, 32, 64),
    "resnet50-big": supernet(OfaResNet50(), RESNET_SPACE, 128, 8),
    "resnet50-cifar": supernet(OfaResNet50(classes=10, stage_widths=(64, 128, 256, 512), stem_stride=1,
                                           stem_pool=False), RESNET_SPACE, 32, 64),
    "quick": supernet(Xception(width_mult=0.02, classes=10), SPACE, 16, 4)}
EVALUATION_BATCH = {"big": 32, "mobilenetv3-big": 32, "resnet50-big": 32}  # others: as in training
ZOO_BATCH = 64
Piece = Tuple[str, str, str]  # setting, task, subnet or network


def every_piece() -> Iterator[Tuple[Piece, Job]]:
    """All that can be measured, the quick ones included."""
    for setting, base in SETTINGS.items():
        names = {"ofa_resnet50": RESNET_SUBNETS, "mobilenetv3": MOBILE_SUBNETS, "xception": SUBNETS}
        for task in TASKS:
            for subnet, name in names[base.net["family"]].items():
                batch = EVALUATION_BATCH.get(setting, base.batch) if task == "evaluation" else base.batch
                yield (setting, task, subnet), replace(base, task=task, batch=batch, subnet=name)
    for name, family in ZOO.items():
        entry = config_class(family)(family).entry
        net = asdict(Fixed(family, classes=entry.classes))
        yield ("zoo", "training", name), Job("training", 32, ZOO_BATCH, net, family, family)


def pieces(only=(), quick: bool = False) -> Dict[Piece, Job]:
    """The jobs that `only` names ("big", "big:training", "zoo:training:resnet18"), or all but quick."""
    return {piece: job for piece, job in every_piece()
            if (piece[0] == "quick") == quick and (not only or any(
                piece[:len(part.split(":"))] == tuple(part.split(":")) for part in only))}


CURVES = {"batch": (1, 2, 4, 8, 16, 32), "image size": (32, 64, 96, 128, 160, 192, 224),
          "width": (0.25, 0.5, 0.75, 1.0),
          "subnet": ("XP0.6 3x3 1", "XP0.6 3x3 2", "XP0.6 5x5 3", "XP0.8 5x5 3", "XP1 5x5 3",
                     "XP1 7x7 3")}


def curve(axis: str, quick: bool = False) -> Iterator[Tuple[object, Job]]:
    """The points of one curve: training steps of the big setting's largest subnet, one thing varied."""
    base = replace(SETTINGS["quick" if quick else "big"], subnet=SUBNETS["largest"])
    for value in CURVES[axis][:2] if quick else CURVES[axis]:
        if axis == "width":
            yield value, replace(base, net={**base.net, "width_mult": value})
        else:
            yield value, replace(base, **{axis.replace(" ", "_"): value})
