"""NNB files and C source for nnabla-c-runtime, Sony's for microcontrollers, by NNabla's own converter.

That runtime knows fewer functions than NNabla. Here ReLU6 and the mean over an image become functions that it
has; of a network with others, one error names the function. The rewritten graph is run by NNabla and compared
before a file is written. NNabla cannot run the files themselves.
"""

from __future__ import annotations

import json
import tempfile
import zipfile
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

from ..errors import OfaError
from ..model import AnyNetwork
from ..system.files import Location
from . import nnp
from .exchange import About, Logits
from .nnp import NETWORK, silence

# Float functions of nnabla-c-runtime, of those that a classifier may have; its doc/SUPPORT_STATUS.md has all.
SUPPORTED = {
    "Affine", "Convolution", "DepthwiseConvolution", "Deconvolution", "MaxPooling", "AveragePooling",
    "SumPooling", "Sigmoid", "Swish", "Tanh", "ReLU", "LeakyReLU", "Softmax", "ELU", "SELU", "PReLU",
    "BatchNormalization", "Sum", "Add2", "Sub2", "Mul2", "Div2", "Pow2", "AddScalar", "MulScalar",
    "PowScalar", "RSubScalar", "RDivScalar", "MinimumScalar", "MaximumScalar", "Identity", "BatchMatmul",
    "Concatenate", "Split", "Stack", "Slice", "Pad", "Transpose", "Reshape", "Dropout"}


class Memory(NamedTuple):
    """Bytes that a network needs. flash: of its parameters; working: of the buffers between functions."""

    flash: int
    working: int


def save_nnb(net: AnyNetwork, path: Location, about: About, size: int, fold: bool = False,
             batch_size: Optional[int] = None) -> None:
    """See `exchange.Save`."""
    from nnabla.utils.converter.nnablart.nnb import NnbExporter
    proto = prepared(net, path, about, size, fold, batch_size or 1)
    with silence():
        NnbExporter(proto, batch_size or 1).execute(str(path), None, None, ["FLOAT32"])


def save_c(net: AnyNetwork, path: Location, about: About, size: int, fold: bool = False,
           batch_size: Optional[int] = None) -> None:
    """See `exchange.Save`; a zip of C files, a GNUmakefile, and about.json."""
    from nnabla.utils.converter.nnablart.csrc import CsrcExporter
    proto = prepared(net, path, about, size, fold, batch_size or 1)
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        with silence():
            CsrcExporter(proto, batch_size or 1).execute(folder)
        for made in sorted(Path(folder).iterdir()):
            text = made.read_text()
            if made.name.endswith("_parameters.c"):  # so that a linker puts them into flash
                text = text.replace("\nfloat ", "\nconst float ")
            file.writestr(made.name, text)
        file.writestr("about.json", json.dumps(about, indent=1))


def load(path: Location, about: About) -> Logits:
    """What the graph computes that a file was made of, an image at a time as the file does."""
    return nnp.load(Path(path).with_suffix(".nnp"))


def notes(path: Location, about: About) -> List[str]:
    """What a microcontroller needs for a file that was just written, and how it is used."""
    need, side, count = memory(path), about["image_size"], about["batch_size"]
    lines = [f"flash: {need.flash} bytes of parameters; memory: {need.working} bytes of buffers between "
             "functions"]
    if Path(path).suffix == ".zip":
        lines += ["to run it, with nnabla-c-runtime in the folder R:",
                  f"  unzip {Path(path).name} && make CFLAGS=-IR/include LDFLAGS=-LR/lib",
                  f"  ./{NETWORK}_example x.bin y    # x.bin: float32 ({count}, 3, {side}, {side})",
                  "  # y_0.bin: the logits"]
    return lines


def memory(path: Location) -> Memory:
    """What the network of a file needs, by the graph that it was made of."""
    from nnabla.utils.converter.nnablart.save_variable_buffer import save_variable_buffer
    from nnabla.utils.converter.nnablart.utils import create_nnabart_info
    proto = read(Path(path).with_suffix(".nnp"))
    with silence():
        info = create_nnabart_info(proto, -1)
    sizes, _ = save_variable_buffer(info)
    return Memory(4 * sum(len(p.data) for p in info._parameters.values()), 4 * int(sum(sizes)))


# The graph ---------------------------------------------------------------------------------------

def prepared(net: AnyNetwork, path: Location, about: About, size: int, fold: bool, batch_size: int) -> Any:
    """The network as nnabla-converter has it, of functions of the runtime; beside `path` stands its NNP."""
    from nnabla.utils.converter.nnabla import NnpExporter
    between = Path(path).with_suffix(".nnp")
    nnp.save(net, between, about, size, fold, batch_size)
    proto = read(between)
    simplify(proto.protobuf.network[0])
    with silence():
        NnpExporter(proto, batch_size, "protobuf").execute(str(between))
    return read(between)  # without parameters that have no reader


def read(path: Path) -> Any:
    """An NNP file as nnabla-converter has it."""
    import nnabla.utils
    from nnabla.utils import converter
    from nnabla.utils.converter.nnabla import NnpImporter

    # NNabla's Cython modules may have put a second nnabla.utils in its place, without its submodules
    # (system/aliases.py); nnablart looks for them there.
    nnabla.utils.converter = converter
    with silence():
        return NnpImporter(str(path), expand_network=True, executor_index=None).execute()


def simplify(network: Any) -> None:
    """Put functions of the runtime in the place of others, in the protobuf of a network.

    Raises:
        OfaError: There is one that has no such form.
    """
    shapes = {variable.name: list(variable.shape.dim) for variable in network.variable}
    functions: List[Any] = []
    replaced: Dict[str, str] = {}
    for function in network.function:
        function.input[:] = [replaced.get(name, name) for name in function.input]
        if function.type == "Mean" and list(function.mean_param.axes) == [2, 3]:
            functions.append(average(function, network, shapes[function.input[0]]))
        elif function.type == "ReLU6":
            functions.extend(relu6(function, network))
        elif function.type == "Broadcast":  # sums and products stretch their operands themselves
            replaced[function.output[0]] = function.input[0]
        elif function.type in SUPPORTED:
            functions.append(function)
        else:
            raise OfaError(f"nnabla-c-runtime has no {function.type}, which this network needs: choose "
                           "--format onnx or nnp")
    del network.function[:]
    network.function.extend(functions)
    for variable in [v for v in network.variable if v.name in replaced]:
        network.variable.remove(variable)


def average(mean: Any, network: Any, shape: Sequence[int]) -> Any:
    """A mean over height and width as an average pool of one window."""
    pool = type(mean)(name=mean.name, type="AveragePooling", input=mean.input, output=mean.output)
    chosen = pool.average_pooling_param
    chosen.kernel.dim.extend(shape[2:])
    chosen.stride.dim.extend(shape[2:])
    chosen.pad.dim.extend([0, 0])
    chosen.ignore_border, chosen.including_pad = True, True
    variable = next(v for v in network.variable if v.name == mean.output[0])
    variable.shape.dim[:] = [*shape[:2], 1, 1]
    return pool


def relu6(function: Any, network: Any) -> Tuple[Any, Any]:
    """min(relu(x), 6)."""
    between = f"{function.output[0]}_relu"
    variable = network.variable.add()
    variable.CopyFrom(next(v for v in network.variable if v.name == function.output[0]))
    variable.name = between
    make = type(function)
    relu = make(name=f"{function.name}_relu", type="ReLU", input=function.input, output=[between])
    relu.relu_param.inplace = False
    least = make(name=function.name, type="MinimumScalar", input=[between], output=function.output)
    least.minimum_scalar_param.val = 6
    return relu, least
