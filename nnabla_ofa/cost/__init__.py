"""What subnets cost: parameters and MACs of thousands (operations.py, model.py), and latency on this
device, measured (timing.py) or predicted by a table (latency.py)."""

from .model import CostModel, Costs, costs_of
from .operations import Archs, Operations, Totals

__all__ = ["Archs", "CostModel", "Costs", "Operations", "Totals", "costs_of"]
