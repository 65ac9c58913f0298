"""How well a supernet orders subnets whose accuracies are known: what is compared."""

from __future__ import annotations

import re
from typing import List, Mapping, Sequence

from ..cost import CostModel
from ..formats.subnets import Subnet
from ..model import Network


def rows(net: Network, subnets: Mapping[str, Subnet], predicted: Sequence[float], image_size: int
         ) -> List[dict]:
    """A row a subnet: name, text, actual accuracy (None: unknown), and what may order them, by ORDERS.

    numbers: the sum of the numbers in its text; for widths of all channels, the last one included.
    """
    found, costs = [], CostModel(net, image_size)([subnet.arch for subnet in subnets.values()])
    for i, ((name, subnet), value) in enumerate(zip(subnets.items(), predicted)):
        numbers = sum(map(float, re.findall(r"\d+(?:\.\d+)?", subnet.text)))
        found.append({"name": name, "subnet": subnet.text, "actual": subnet.accuracy, "predicted": value,
                      "parameters": int(costs.parameters[i]), "macs": int(costs.macs[i]),
                      "numbers": numbers})
    return found
