"""Fair timing on a machine that others use: contenders take turns, and medians are compared."""

from __future__ import annotations

import time
from statistics import quantiles
from typing import Dict, List, Mapping

from worker import Failed, Worker

TURN_SECONDS = 0.3  # a fast contender makes several calls a turn, up to MOST_CALLS
MOST_CALLS = 20
PAUSE_SECONDS = 0.05  # until the threads of the one before have gone to sleep
LEAST_SAMPLES = 3


def take_turns(workers: Mapping[str, Worker], job: dict, rounds: int,
               budget: float) -> Dict[str, List[float]]:
    """Seconds of each call of each contender; {} entries of those that failed are left out.

    Everyone prepares, then `rounds` times (at least LEAST_SAMPLES) everyone in turn makes its calls.
    One that has used `budget` seconds stops early, but not before LEAST_SAMPLES calls.
    """
    calls, samples = {}, {}
    for name, worker in workers.items():
        try:
            seconds = worker.ask(do="prepare", job=job)["seconds"]
        except Failed as error:
            print(f"  {error}")
            continue
        calls[name] = max(1, min(MOST_CALLS, int(TURN_SECONDS / seconds)))
        samples[name] = []
    for _ in range(max(rounds, LEAST_SAMPLES)):
        for name, found in samples.items():
            if sum(found) < budget or len(found) < LEAST_SAMPLES:
                time.sleep(PAUSE_SECONDS)
                found += workers[name].ask(do="run", repeats=calls[name])["seconds"]
    return samples


def summary(seconds: List[float]) -> Dict[str, float]:
    """Median and quartiles of a contender's calls, and their number."""
    q1, median, q3 = quantiles(seconds, n=4, method="inclusive")
    return {"median": round(median, 6), "q1": round(q1, 6), "q3": round(q3, 6),
            "samples": len(seconds)}
