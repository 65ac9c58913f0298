"""Networks with their weights: elastic and fixed, many subnets at once, frozen copies, files.

`AnyNetwork` (protocol.py) is all that training, evaluation, files, cost, export and tables know of one.
What only elastic networks can is in network.py; only sampling, stages, search and latency tables ask for it.
"""

from . import zoo
from .files import create, load_network, network_from
from .fixed import FixedNetwork
from .frozen import Frozen
from .network import Network, network_cost
from .population import Population
from .protocol import AnyNetwork

__all__ = ["AnyNetwork", "FixedNetwork", "Frozen", "Network", "Population", "create", "load_network",
           "network_cost", "network_from", "zoo"]
