"""Post-training static quantisation of an ONNX file to int8, by onnxruntime.quantization.

Weights get a scale a channel, activations one a tensor, taken from calibration images. The file stays a graph
of float operations with QuantizeLinear and DequantizeLinear between them (QDQ), which every runtime
reads; onnxruntime puts its int8 kernels in their place when it opens the file.

What this needs is not part of requirements.txt: see requirements-onnx.txt.
"""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
from pathlib import Path
from types import ModuleType
from typing import (
    Any,
    Callable,
    Dict,
    Iterable,
    Iterator,
    List,
    NamedTuple,
    Optional,
    Sequence,
    Set,
    Tuple,
    Union,
)

import numpy as np

from ..errors import OfaError
from ..system.files import write_atomically

INSTALL = "pip install --no-deps -r requirements-onnx.txt"
METHODS = {"minmax": "MinMax", "entropy": "Entropy", "percentile": "Percentile"}  # as onnxruntime names them
FEWEST = 16          # calibration images; ranges of fewer are those of single images
BATCH = 16           # images at a time, where the file takes any number
WEIGHTED = ("Conv", "Gemm", "MatMul")
# These have the range of their input, or hand theirs on to it: keeping them in float32 changes nothing.
PASSING = ("Relu", "Clip", "Squeeze", "Reshape", "Transpose", "Pad", "MaxPool")


class Packages(NamedTuple):
    """Modules of the extra packages. quantization: onnxruntime's."""

    onnx: ModuleType
    onnxruntime: ModuleType
    quantization: ModuleType


def packages() -> Packages:
    """The extra packages; OfaError names the command that installs them."""
    try:
        import onnx
        import onnxruntime
        from onnxruntime import quantization
    except ImportError as error:
        raise OfaError(f"int8 needs packages that are not here ({error}): {INSTALL}") from error
    return Packages(onnx, onnxruntime, quantization)


def int8(source: Path, target: Path, images: np.ndarray, calibrate: str = "minmax",
         keep_float: Sequence[str] = ()) -> None:
    """Write the int8 form of an ONNX file.

    Args:
        source: The float32 file, with BN folded and one input of images.
        target: The file to write, whole or not at all.
        images: (N, 3, H, W) float32 as the network sees them, N of FEWEST or more. They are of the training
            set, never of the test set.
        calibrate: How ranges of activations follow from the images. "minmax" takes all that occurred,
            "percentile" leaves out the outermost values, "entropy" loses the least information.
        keep_float: Names of nodes that stay in float32.

    Raises:
        OfaError: Packages are missing, the file is damaged or cannot be quantised, the images are too few or
            of another shape, there is no such method or node.
    """
    ready = calibrated(source, images, calibrate)
    unknown = sorted(set(keep_float) - {node.name for node in ready.model.graph.node})
    if unknown:
        raise OfaError(f"{source} has no layer {unknown[0]} to keep in float32")
    write_atomically(target, quantised(ready, keep_float))


class Calibrated(NamedTuple):
    """A file that is ready to be quantised. model: with shapes; ranges: of its activations, onnxruntime's."""

    source: Path
    model: Any
    ranges: Any


def calibrated(source: Path, images: np.ndarray, calibrate: str) -> Calibrated:
    """Run the images through a file; arguments and errors as of `int8`."""
    use = packages()
    if calibrate not in METHODS:
        raise OfaError(f"--calibrate {calibrate} is none of {', '.join(METHODS)}")
    model = read(source, use)
    check_images(source, model, images)
    method = getattr(use.quantization.CalibrationMethod, METHODS[calibrate])
    with one_error(source), tempfile.TemporaryDirectory() as folder:
        named = Path(folder) / "float.onnx"
        use.onnx.save(model, str(named))
        calibrator = use.quantization.create_calibrator(
            named, sorted(kinds()), str(Path(folder) / "outputs.onnx"), method)
        entry, = model.graph.input
        for batch in split(images, entry.type.tensor_type.shape.dim[0].dim_value):
            calibrator.collect_data(Batches(entry.name, [batch]))  # more at a time are all in memory
        ranges = calibrator.compute_data()
        from onnxruntime.quantization.quant_utils import load_model_with_shape_infer
        return Calibrated(source, load_model_with_shape_infer(named), ranges)


def quantised(ready: Calibrated, keep_float: Sequence[str]) -> bytes:
    """The int8 form of a file.

    On CPUs without VNNI the kernels of onnxruntime add two products of u8 and s8 in 16 bits, which saturates.
    Weights of 7 bits (reduce_range) cannot.
    """
    use = packages()
    library, copy = use.quantization, use.onnx.ModelProto()
    copy.CopyFrom(ready.model)
    with one_error(ready.source):
        quantiser = library.QDQQuantizer(
            copy, per_channel=True, reduce_range=True, weight_qType=library.QuantType.QInt8,
            activation_qType=library.QuantType.QUInt8, tensors_range=ready.ranges, nodes_to_quantize=[],
            nodes_to_exclude=list(keep_float), op_types_to_quantize=sorted(kinds()), extra_options={})
        quantiser.quantize_model()
        quantiser.model.topological_sort()
        model = quantiser.model.model
        use.onnx.helper.set_model_props(model, {entry.key: entry.value for entry in ready.model.metadata_props
                                                if not entry.key.startswith("onnx.")})  # notes to itself
        content = model.SerializeToString()
        use.onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return content


def kinds() -> Set[str]:
    """Operations that onnxruntime.quantization quantises."""
    from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry
    return {*QDQRegistry, *QLinearOpsRegistry}


@contextlib.contextmanager
def one_error(source: Path) -> Iterator[None]:
    """Whatever onnxruntime raises as one OfaError that names the file, and nothing of what it prints."""
    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)  # its advice is about steps that are done
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    except Exception as error:  # it has no class for "this graph cannot be quantised"
        raise OfaError(f"{source} cannot be quantised: {one_line(error)}") from error
    finally:
        logger.setLevel(level)


def read(path: Path, use: Packages) -> Any:
    """The model of an ONNX file, its nodes named; OfaError if it is damaged or has nothing to quantise."""
    try:
        model = use.onnx.load(str(path))
        use.onnx.checker.check_model(model)
    except FileNotFoundError as error:
        raise OfaError(f"{path} does not exist") from error
    except Exception as error:  # protobuf's and the checker's, of several kinds
        raise OfaError(f"{path} is no whole ONNX file ({one_line(error)}): export it again") from error
    kinds = {node.op_type for node in model.graph.node}
    if kinds & {"QuantizeLinear", "DequantizeLinear"}:
        raise OfaError(f"{path} is quantised already: give the float32 file")
    if not kinds & set(WEIGHTED):
        raise OfaError(f"{path} has nothing to quantise: none of its operations is {', '.join(WEIGHTED)}")
    for number, node in enumerate(model.graph.node):
        node.name = node.name or f"{node.op_type}_{number}"
    return model


def check_images(path: Path, model: Any, images: np.ndarray) -> None:
    """OfaError where the images cannot calibrate the file's network."""
    if len(images) < FEWEST:
        raise OfaError(f"{len(images)} calibration images are too few: give {FEWEST} or more")
    shape = [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim]
    if list(images.shape[1:]) != shape[1:]:
        raise OfaError(f"calibration images are {images.shape[1:]}, those of {path} {tuple(shape[1:])}")
    if not np.isfinite(images).all():
        raise OfaError("calibration images hold values that are not finite")


def layers(model: Any) -> List[str]:
    """Names of the nodes of a float32 model that are quantised unless they are kept."""
    return [node.name for node in model.graph.node if node.op_type in kinds() - set(PASSING)]


def opened(file: Union[str, bytes]) -> Callable[[np.ndarray], np.ndarray]:
    """What gives logits (N, classes) for images (N, 3, H, W) as the input has them, on the CPU.

    file: Its path, or what is in it.
    """
    session = packages().onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    entry, = session.get_inputs()
    fixed = entry.shape[0] if isinstance(entry.shape[0], int) else 0

    def logits(images: np.ndarray) -> np.ndarray:
        found = [session.run(None, {entry.name: batch})[0] for batch in split(images, fixed)]
        return np.concatenate(found)[:len(images)]

    return logits


def split(images: np.ndarray, fixed: int) -> List[np.ndarray]:
    """Images in batches of one size, the last one filled with the first images. fixed: the size; 0: any."""
    size = fixed or min(BATCH, len(images))
    count = -(-len(images) // size)
    whole = np.resize(images, (count * size, *images.shape[1:]))
    return [whole[i:i + size] for i in range(0, len(whole), size)]


def top1(path: Path, batches: Iterable[Tuple[np.ndarray, np.ndarray]]) -> float:
    """The fraction of images that a file names rightly.

    Args:
        path: The file.
        batches: Images (N, 3, H, W) as its input has them, with their labels (N,).
    """
    logits, right, count = opened(str(path)), 0, 0
    for images, labels in batches:
        right += int((logits(images).argmax(axis=1) == labels).sum())
        count += len(labels)
    return right / count


class Batches:
    """Images as onnxruntime asks for them when it calibrates: a batch a call."""

    def __init__(self, name: str, batches: Sequence[np.ndarray]) -> None:
        self.name, self.left = name, iter(batches)

    def get_next(self) -> Optional[Dict[str, np.ndarray]]:
        """The next batch, None at the end."""
        batch = next(self.left, None)
        return None if batch is None else {self.name: batch}

    def __iter__(self) -> Iterator[Dict[str, np.ndarray]]:
        return ({self.name: batch} for batch in self.left)


def one_line(error: Exception) -> str:
    """The first line of an error that is another package's."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
