"""What a subnet is worth: calibrated, then judged on every image once; figures kept, and compared.

images.py deals out a fixed set of images, judge.py calibrates and judges, evaluations.py asks for what is
not known yet, cache.py is its file, statistics.py compares figures.
"""

from .evaluations import Evaluations
from .images import Images
from .judge import Judged, Result, calibrate, evaluate_archs, judge, score

__all__ = ["Evaluations", "Images", "Judged", "Result", "calibrate", "evaluate_archs", "judge", "score"]
