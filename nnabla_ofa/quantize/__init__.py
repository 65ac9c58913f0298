"""int8: an exported ONNX file with 8-bit weights and activations (int8.py), by onnxruntime.quantization."""

from .int8 import int8

__all__ = ["int8"]
