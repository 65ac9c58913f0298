"""What a subnet is worth: calibrated, then judged on every image once; figures kept, and compared."""

from .cache import Evaluations
from .images import Images
from .judge import Result, calibrate, evaluate_archs, score

__all__ = ["Evaluations", "Images", "Result", "calibrate", "evaluate_archs", "score"]
