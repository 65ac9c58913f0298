"""`load`: one call for every kind of weights file that nnabla_ofa reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, List, Optional, Sequence, Union

from ..errors import OfaError
from ..model import FixedNetwork, Network, load_network, zoo
from ..nets.zoo import ZOO
from ..system.container import is_container
from ..system.files import Location
from .nnabla_nas import load_nnabla_nas
from .once_for_all import from_once_for_all, is_once_for_all
from .torch_file import is_torch_file, read_state_dict

LARGEST_CONFIG = 1 << 20  # bytes of a net.config


def load(path: Location, widths: Optional[Sequence[int]] = None, classes: Optional[int] = None,
         net: Optional[str] = None, net_config: Optional[Location] = None, **config: Any
         ) -> Union[Network, FixedNetwork]:
    """The network of a file.

    Our own files (.h5) describe themselves. A PyTorch file (.pth, .pyth) of once-for-all's families is known
    by names and shapes; of another network `net` says which one it is. An nnabla-nas checkpoint does not say
    what it is, so widths and classes do.

    Args:
        path: The file.
        widths: 8 base widths of an nnabla-nas checkpoint.
        classes: The number of classes of an nnabla-nas checkpoint or of a PyTorch file.
        net: The name in the zoo of the network that a PyTorch file holds.
        net_config: The net.config of a subnet of once-for-all; None: the file of this name beside it, if
            there is one.
        config: Further fields of the configuration: of `Xception` for nnabla-nas, of the family for
            once-for-all, whose `space` may be given, too.

    Raises:
        OfaError: The file cannot be read, is damaged or does not fit the arguments.
    """
    if is_container(path):
        if widths is not None or classes is not None or config or net_config:
            raise OfaError(f"{path} describes itself: leave out widths, classes and other settings")
        loaded = load_network(path)
        if net is not None and net != loaded.config.family:
            raise OfaError(f"{path} holds {loaded.config.family}, not {net}")
        return loaded
    if net is not None or is_torch_file(path):
        if widths is not None:
            raise OfaError(f"{path}: widths are those of an nnabla-nas checkpoint (.h5): leave them out")
        return _load_torch(path, net, classes, net_config, config)
    if widths is None or classes is None:
        raise OfaError(f"{path} is not a file of nnabla_ofa; if it is an nnabla-nas checkpoint, give "
                       "its widths=[8 integers] and classes=N; if it is ours, it is damaged")
    return load_nnabla_nas(path, widths, classes, **config)


def _load_torch(path: Location, net: Optional[str], classes: Optional[int], net_config: Optional[Location],
                config: Any) -> Union[Network, FixedNetwork]:
    """The network of a PyTorch file; see `load`."""
    state = read_state_dict(path)
    try:
        if net in ZOO:
            if config or net_config:
                raise OfaError(f"{net} is a fixed network: leave out {', '.join([*config, 'net_config'])}")
            return zoo.from_torch(net, state, classes)
        if is_once_for_all(state):
            given = config if classes is None else {"classes": classes, **config}
            loaded = from_once_for_all(state, block_strides(path, net_config), **given)
            if net not in (None, loaded.config.family):
                raise OfaError(f"it is a network of {loaded.config.family}, not of {net}")
            return loaded
        if net is not None:
            zoo.entry(net)  # names the nearest ones
            raise OfaError(f"it is not a state dict of {net}")
        raise OfaError("its names are those of no supernet of once-for-all: say which network it is, "
                       "net=NAME (--net NAME; runners/zoo.py lists them)")
    except OfaError as error:
        raise OfaError(f"{path}: {error}") from error


def block_strides(path: Location, net_config: Optional[Location] = None) -> Optional[List[int]]:
    """The strides of a subnet's blocks but the first one, from its net.config; None where there is none.

    Args:
        path: The weights.
        net_config: That file; None: net.config or <name>.config, with or without .json, beside the weights.

    Raises:
        OfaError: The file is not such a JSON object.
    """
    own = Path(path)
    beside = [own.with_name(name + end) for name in ("net.config", f"{own.stem}.config")
              for end in ("", ".json")]
    found = Path(net_config) if net_config is not None else next((p for p in beside if p.is_file()), None)
    if found is None:
        return None
    try:
        if found.stat().st_size > LARGEST_CONFIG:
            raise OfaError(f"{found} has {found.stat().st_size} bytes, too many for a net.config")
        blocks = json.loads(found.read_text(encoding="utf-8"))["blocks"]
        bodies = [block.get("conv") or block.get("mobile_inverted_conv") or block for block in blocks]
        return [int(body["stride"]) for body in bodies[1:]]
    except OSError as error:
        raise OfaError(f"cannot read {found}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise OfaError(f"{found} is not a net.config of once-for-all ({error!r})") from error
