"""Files of networks in and out: our own, nnabla-nas's, NNP, ONNX; and files that name subnets.

loading.py reads any of them that is a network's weights; export.py writes for other programs, in a format
(exchange.py) of nnp.py, onnx_file.py or nnabla_nas.py; subnets.py reads and writes lists of subnets.
torch_file.py reads and writes PyTorch's state dicts (torch_pickle.py, torch_bytes.py) as NumPy arrays.
"""

from .loading import load

__all__ = ["load"]
