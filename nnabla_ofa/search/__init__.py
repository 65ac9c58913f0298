"""Search: the subnets of most accuracy at least cost, within limits; accuracy predicted from a sample."""

from .methods import METHODS, search
from .predictor import Predictor
from .problem import Problem, cost_function, pareto

__all__ = ["METHODS", "Predictor", "Problem", "cost_function", "pareto", "search"]
