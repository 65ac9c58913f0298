"""int8: an exported ONNX file with 8-bit weights and activations (int8.py), by onnxruntime.quantization.

layers.py finds the layers that lose most by it. within.py writes a file whose loss of top-1 is within a
limit.
"""

from .int8 import int8, top1
from .within import Outcome, within

__all__ = ["Outcome", "int8", "top1", "within"]
