"""How long averaging all gradients of a recipe's network takes, small ones packed or not; under mpirun.

    mpirun -n 4 python scripts/reliability/messages.py xception_digits

Prints a JSON object: the number of gradients, their values, and the fewest milliseconds of 30 rounds.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import replace

import nnabla as nn

from nnabla_ofa import Network
from nnabla_ofa.experiment.parse import load_recipe
from nnabla_ofa.system import comm

ROUNDS = 30


def main(name: str) -> None:
    """Both ways in turn, so that both see the same machine."""
    recipe, ranks = load_recipe(name), comm.connect("cpu")
    net = Network.create(replace(recipe.net, classes=10), recipe.stages[-1].space)
    variables = [nn.Variable.from_numpy_array(v.d, v.d) for v in net.variables().values() if v.need_grad]
    times = {"apart": [], "packed": []}
    packed = comm.SMALL
    for _ in range(ROUNDS):
        for way, comm.SMALL in (("apart", 0), ("packed", packed)):
            comm.barrier(ranks)
            start = time.perf_counter()
            ranks.average_gradients(variables)
            comm.barrier(ranks)
            times[way].append(1000 * (time.perf_counter() - start))
    if ranks.rank == 0:
        print(json.dumps({"gradients": len(variables), "values": sum(v.size for v in variables),
                          **{way: min(found) for way, found in times.items()}}))


if __name__ == "__main__":
    main(sys.argv[1])
