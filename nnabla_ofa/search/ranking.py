"""The rows of a ranking: what a supernet predicts of subnets whose accuracies are known, and what else
may put them in order. `reports.pages.ranking` compares the orders."""

from __future__ import annotations

import re
from typing import Dict, List, Mapping, Sequence, Union

from ..cost import CostModel
from ..formats.subnets import Subnet
from ..model import Network

Row = Dict[str, Union[str, float, None]]


def rows(net: Network, subnets: Mapping[str, Subnet], predicted: Sequence[float], image_size: int
         ) -> List[Row]:
    """A row a subnet.

    Args:
        net: The supernet.
        subnets: The subnets of a file, by name.
        predicted: Their top-1 by the supernet, in the same order.
        image_size: Pixels a side, for the costs.

    Returns:
        Rows of "name", "subnet" (as the file writes it), "actual" (its accuracy in the file; None:
        unknown), "predicted", "parameters", "macs" and "numbers". That is the sum of the numbers in the
        subnet's text: where it lists widths, all channels, the last one included.
    """
    costs = CostModel(net, image_size)([subnet.arch for subnet in subnets.values()])
    found: List[Row] = []
    for i, ((name, subnet), value) in enumerate(zip(subnets.items(), predicted)):
        numbers = sum(map(float, re.findall(r"\d+(?:\.\d+)?", subnet.text)))
        found.append({"name": name, "subnet": subnet.text, "actual": subnet.accuracy, "predicted": value,
                      "parameters": int(costs.parameters[i]), "macs": int(costs.macs[i]),
                      "numbers": numbers})
    return found
