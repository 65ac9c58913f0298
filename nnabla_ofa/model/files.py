"""Networks from their files and configurations."""

from __future__ import annotations

from typing import Any, Mapping, Union

from ..errors import OfaError
from ..layers import Arrays
from ..nets import Config, Fixed, Space, net_config
from ..system import container
from ..system.files import Location
from .fixed import FixedNetwork
from .info import checked
from .network import Network


def create(config: Config, space: Union[Space, str], seed: int = 0) -> Union[Network, FixedNetwork]:
    """A network with new weights; the same (config, space, seed) gives the same values."""
    if isinstance(config, Fixed):
        return FixedNetwork.create(config, space, seed)
    return Network.create(config, space, seed)  # type: ignore[arg-type]


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
