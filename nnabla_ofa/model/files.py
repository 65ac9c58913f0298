"""Networks from their files and configurations."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, Mapping, Union

from ..errors import OfaError
from ..layers import Arrays
from ..nets import Config, Fixed, Space, config_class, net_config
from ..nets.registry import ELASTIC
from ..nets.zoo import ZOO
from ..system import container
from ..system.files import Location
from .fixed import FixedNetwork
from .info import checked
from .network import Network


def create(config: Union[Config, str], space: Union[Space, str, None] = None, seed: int = 0,
           **settings: Any) -> Union[Network, FixedNetwork]:
    """A network with new weights; the same arguments give the same values.

    Args:
        config: Its configuration, or the name of a family or of a network of the zoo. "resnet50" with the
            name of a search space is the family ofa_resnet50, without one the network of the zoo.
        space: The search space of an elastic network; a fixed one needs none.
        seed: Of the weights.
        settings: Fields of the configuration, where a name is given: `create("resnet18_cifar", classes=100)`.

    Raises:
        OfaError: There is no such network, setting or space.
    """
    if isinstance(config, str):
        elastic = f"ofa_{config}"
        as_family = space not in (None, config) and elastic in ELASTIC
        config = named_config(elastic if as_family else config, **settings)
    elif settings:
        raise OfaError(f"{', '.join(settings)} belong to the configuration that was given")
    if isinstance(config, Fixed):
        return FixedNetwork.create(config, space, seed)
    if space is None:
        raise OfaError(f"{config.family} is elastic: name a search space")
    return Network.create(config, space, seed)  # type: ignore[arg-type]


def named_config(name: str, **settings: Any) -> Config:
    """The configuration of a family or network by its name; a network's classes are those of its original."""
    kind = config_class(name)
    known = {f.name for f in fields(kind)} - {"family"}
    wrong = [key for key in settings if key not in known]
    if wrong:
        raise OfaError(f"{name} has no setting {wrong[0]!r}; it has {', '.join(sorted(known))}")
    if kind is Fixed:
        return Fixed(name, **{"classes": ZOO[name].classes, **settings})
    return kind(**settings)


def load_network(path: Location) -> Union[Network, FixedNetwork]:
    """The network of a file that `save` wrote; strict: OfaError names what does not fit."""
    arrays, meta = container.load(path)
    container.require_kind(path, meta, "network")
    return network_from(arrays, meta, str(path))


def network_from(arrays: Arrays, meta: Mapping[str, Any], source: str) -> Union[Network, FixedNetwork]:
    """A network of arrays and of what `describe` says of it; source: named in errors."""
    try:
        config = net_config(meta["net"])
        kind = FixedNetwork if isinstance(config, Fixed) else Network
        net = kind(config, config.space(meta["space"]),  # type: ignore[arg-type]
                   info=checked(meta["info"], config.classes))
    except (KeyError, TypeError, AttributeError, OverflowError) as error:
        raise OfaError(f"{source} does not describe its network as this version of nnabla_ofa does "
                       f"({error!r}): make it again") from error
    net.set_arrays(arrays, source)
    return net
