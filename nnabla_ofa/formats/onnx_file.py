"""ONNX, by way of an NNP file and nnabla-converter; onnxruntime reads it back, and OpenVINO where installed.

What this needs is not part of requirements.txt: see requirements-onnx.txt, requirements-openvino.txt.
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any, Dict, NamedTuple, Optional, Tuple

import numpy as np

from ..errors import OfaError
from ..model import AnyNetwork
from ..system.files import Location
from . import nnp
from .exchange import INPUT, OPSETS, About, Load, Logits
from .nnp import silence
from .onnx_graph import normalise, simplify

IR_VERSIONS = {13: 7, 17: 8}  # of an opset: those of ONNX 1.8 (2020) and 1.12 (2022)
INSTALL = "pip install --no-deps -r requirements-onnx.txt"


class Packages(NamedTuple):
    """Modules of the extra packages. reader, writer: of nnabla-converter, of NNP and of ONNX files."""

    onnx: ModuleType
    onnxruntime: ModuleType
    reader: ModuleType
    writer: ModuleType


def packages() -> Packages:
    """The extra packages; OfaError names the command that installs them."""
    try:
        with silence():
            import onnx
            import onnxruntime
            from nnabla.utils.converter import nnabla as reader
            from nnabla.utils.converter import onnx as writer
    except ImportError as error:
        raise OfaError(f"ONNX needs packages that are not here ({error}): {INSTALL}") from error
    return Packages(onnx, onnxruntime, reader, writer)


def save(net: AnyNetwork, path: Location, about: About, size: int, fold: bool = False,
         batch_size: Optional[int] = None, channels: int = 3) -> None:
    """See `exchange.Save`; `about` goes to metadata_props, values that are no text as JSON.

    channels: as of `nnp.save`.
    """
    use, between = packages(), Path(path).with_suffix(".nnp")
    nnp.save(net, between, about, size, fold, batch_size or 1, channels)
    with silence():
        proto = use.reader.NnpImporter(str(between), expand_network=True, executor_index=None).execute()
        use.writer.OnnxExporter(proto, batch_size or 1, IR_VERSIONS[OPSETS[0]], opset=str(OPSETS[0])
                                ).execute(str(path))
    between.unlink()
    model = use.onnx.load(str(path))
    count_padding(model, use.onnx)
    simplify(model, use.onnx)
    if batch_size is None:
        free_batch(model, use.onnx)
    if about["pixels"]:
        normalise(model, use.onnx, about["mean"], about["std"])
    if about["opset"] != OPSETS[0]:
        model = use.onnx.version_converter.convert_version(model, about["opset"])
        model.ir_version = IR_VERSIONS[about["opset"]]
    use.onnx.helper.set_model_props(
        model, {key: value if isinstance(value, str) else json.dumps(value) for key, value in about.items()})
    use.onnx.checker.check_model(model, full_check=True)
    use.onnx.save(model, str(path))


def count_padding(model: Any, onnx: ModuleType) -> None:
    """Say of each mean pool that padded zeros count.

    It has no padding of its own, a node before it pads. But onnxruntime 1.19 makes one node of the two, and
    then divides by the pixels of the image alone unless this is said.
    """
    for node in model.graph.node:
        if node.op_type == "AveragePool":
            node.attribute.append(onnx.helper.make_attribute("count_include_pad", 1))


def free_batch(model: Any, onnx: ModuleType) -> None:
    """Let a graph for one image take any number; it alone counts them in inputs, outputs and reshapes.

    The first dimension of a reshape becomes "what is left": it is the batch in all of ours.
    """
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "N"
    shapes = {node.input[1] for node in model.graph.node if node.op_type == "Reshape"}
    arrays = {array.name: array for array in model.graph.initializer}
    for array in (arrays[name] for name in shapes):
        shape = onnx.numpy_helper.to_array(array)
        array.CopyFrom(onnx.numpy_helper.from_array(np.array([-1, *shape[1:]]), array.name))


def load(path: Location, about: About) -> Logits:
    """See `exchange.Load`; onnxruntime runs the file on the CPU."""
    session = packages().onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda images: session.run(None, {INPUT: as_input(images, about)})[0]


def others() -> Dict[str, Load]:
    """What else reads the file, of what is installed: name and how."""
    return {"OpenVINO": load_openvino} if importlib.util.find_spec("openvino") else {}


def load_openvino(path: Location, about: About) -> Logits:
    """See `exchange.Load`; OpenVINO runs the file on the CPU, in float32 where it is float32."""
    import openvino
    core = openvino.Core()
    model = core.compile_model(core.read_model(str(path)), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda images: model(as_input(images, about))[0]


def as_input(images: np.ndarray, about: About) -> np.ndarray:
    """Images as a file takes them: as they are, or the uint8 that they were.

    images: (N, 3, H, W) float32, normalised.
    """
    if not about["pixels"]:
        return images
    mean, std = (np.array(values, np.float32).reshape(3, 1, 1) for values in (about["mean"], about["std"]))
    return np.clip(np.round((images * std + mean) * 255), 0, 255).astype(np.uint8)


def usage(path: str, about: About) -> Tuple[str, str, str]:
    """See `exchange.Usage`."""
    return ("import onnxruntime",
            f"net = onnxruntime.InferenceSession({path!r}); "
            'classes = json.loads(net.get_modelmeta().custom_metadata_map["classes"])',
            f'y = net.run(None, {{"{INPUT}": x}})[0]')
