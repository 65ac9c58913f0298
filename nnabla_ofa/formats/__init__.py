"""Files of networks in and out: our own, nnabla-nas's, NNP, ONNX; and files that name subnets."""

from .load import load

__all__ = ["load"]
