"""What subnets cost: parameters and MACs of thousands, and latency measured on this device."""

from .model import CostModel, costs_of
from .operations import Archs, Operations, Totals

__all__ = ["Archs", "CostModel", "Operations", "Totals", "costs_of"]
