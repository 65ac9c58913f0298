"""Files of networks in and out: our own, nnabla-nas's, NNP, ONNX; and files that name subnets.

loading.py reads any of them that is a network's weights; export.py writes for other programs, in a format
(exchange.py) of nnp.py, onnx_file.py, c_runtime.py, nnabla_nas.py or torch_export.py; subnets.py reads and
writes lists of subnets. onnx_graph.py rewrites the converter's ONNX graphs, predict_script.py is what stands
beside such a file on a device. once_for_all.py knows the names of once-for-all's state dicts,
once_for_all_shapes.py their shapes. torch_file.py reads and writes PyTorch's state dicts (torch_pickle.py,
torch_bytes.py) as NumPy arrays.
"""

from .loading import load

__all__ = ["load"]
