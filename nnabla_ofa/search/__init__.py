"""Search: the subnets of most accuracy at least cost, within limits; accuracy predicted from a sample.

problem.py says what is searched, nearest.py whether limits can be met, methods.py and nsga2.py how the
search goes, predictor.py and regression.py predict accuracies, ranking.py compares orders of subnets.
"""

from .methods import METHODS, search
from .predictor import Predictor
from .problem import Problem, cost_function, pareto

__all__ = ["METHODS", "Predictor", "Problem", "cost_function", "pareto", "search"]
