"""Networks as PyTorch files: those of once-for-all's families, and those of the zoo.

The file holds {"state_dict": ...}, which the original's program reads, and beside it in its archive what the
file says of itself, about.json, which torch.load passes over.
"""

from __future__ import annotations

import json
from typing import Any, Dict, Optional, Tuple

import numpy as np

from ..errors import OfaError
from ..model import AnyNetwork, FixedNetwork, Network, zoo
from ..nets import Fixed
from ..system.files import Location
from .exchange import About, Logits
from .loading import load
from .once_for_all import to_once_for_all
from .torch_file import archive_folder, write_state_dict

ABOUT = "about.json"


def save_once_for_all(net: AnyNetwork, path: Location, about: About, size: int, fold: bool = False,
                      batch_size: Optional[int] = None) -> None:
    """See `exchange.Save`. The file has no graph: size, fold and batch_size say nothing here."""
    if not isinstance(net, Network):
        raise OfaError(f"once-for-all has no {net.space}: choose another format")
    _save(to_once_for_all(net), path, about)


def save_zoo(net: AnyNetwork, path: Location, about: About, size: int, fold: bool = False,
             batch_size: Optional[int] = None) -> None:
    """The same for a network of the zoo, by the names of the first of its sources."""
    if not isinstance(net, FixedNetwork):
        raise OfaError(f"format torch holds networks of the zoo, not {net.config.family}: choose another one")
    if net.config.bn_eps != Fixed.bn_eps:
        raise OfaError(f"net.bn_eps={net.config.bn_eps:g} has no place in a state dict, and the original "
                       f"adds {Fixed.bn_eps:g}: choose another format")
    _save(zoo.to_torch(net), path, about)


def _save(state: Dict[str, np.ndarray], path: Location, about: About) -> None:
    write_state_dict(path, state, key="state_dict", beside={ABOUT: json.dumps(about, indent=1).encode()})


def loaded_logits(path: Location, about: About) -> Logits:
    """See `exchange.Load`."""
    return load(path, **_settings(about)).logits


def usage(path: str, about: About) -> Tuple[str, str, str]:
    """See `exchange.Usage`."""
    settings = ", ".join(f"{key}={value!r}" for key, value in _settings(about).items())
    read = f"zipfile.ZipFile({path!r}).read({f'{archive_folder(path)}/{ABOUT}'!r})"
    return ("import zipfile; import nnabla_ofa as ofa", f"net = ofa.load({path!r}, {settings}); "
            f'classes = json.loads({read})["classes"]', "y = net.logits(x)")


def _settings(about: About) -> Dict[str, Any]:
    """What `load` is told: of an elastic family all that names and shapes may not say."""
    family = about["net"]["family"]
    if about["arch"] == family:
        return {"net": family}
    return {"space": about["arch"], **{key: value for key, value in about["net"].items() if key != "family"}}
