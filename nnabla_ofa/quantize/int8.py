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
from typing import Any, Callable, Dict, Iterable, Iterator, List, NamedTuple, Optional, Sequence, Tuple

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
    use = packages()
    if calibrate not in METHODS:
        raise OfaError(f"--calibrate {calibrate} is none of {', '.join(METHODS)}")
    model = read(source, use)
    check_images(source, model, images)
    unknown = sorted(set(keep_float) - {node.name for node in model.graph.node})
    if unknown:
        raise OfaError(f"{source} has no layer {unknown[0]} to keep in float32")
    with tempfile.TemporaryDirectory() as folder:
        named, made = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        use.onnx.save(model, str(named))
        try:
            quantise(named, made, Batches(model, images), calibrate, keep_float, use)
            use.onnxruntime.InferenceSession(str(made), providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime has no class for "this graph cannot be quantised"
            raise OfaError(f"{source} cannot be quantised: {one_line(error)}") from error
        done = use.onnx.load(str(made))
        use.onnx.helper.set_model_props(done, {entry.key: entry.value for entry in model.metadata_props})
        write_atomically(target, done.SerializeToString())


def quantise(source: Path, target: Path, batches: Batches, calibrate: str, keep_float: Sequence[str],
             use: Packages) -> None:
    """The call of onnxruntime.

    On CPUs without VNNI its kernels add two products of u8 and s8 in 16 bits, which saturates. Weights of
    7 bits (reduce_range) cannot.
    """
    library = use.quantization
    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)  # its advice is about steps that are done
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            library.quantize_static(
                str(source), str(target), batches, quant_format=library.QuantFormat.QDQ, per_channel=True,
                reduce_range=True, activation_type=library.QuantType.QUInt8,
                weight_type=library.QuantType.QInt8, nodes_to_exclude=list(keep_float),
                calibrate_method=getattr(library.CalibrationMethod, METHODS[calibrate]),
                extra_options={"CalibStridedMinMax": 1})  # of all methods: a batch at a time in memory
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


def layers(path: Path) -> List[str]:
    """Names of the nodes of a float32 file that are quantised unless they are kept."""
    from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry
    kinds = {*QDQRegistry, *QLinearOpsRegistry} - set(PASSING)
    return [node.name for node in read(path, packages()).graph.node if node.op_type in kinds]


def opened(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    """What gives logits (N, classes) for images (N, 3, H, W) as the file's input has them, on the CPU."""
    session = packages().onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
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
    logits, right, count = opened(path), 0, 0
    for images, labels in batches:
        right += int((logits(images).argmax(axis=1) == labels).sum())
        count += len(labels)
    return right / count


class Batches:
    """Calibration images as onnxruntime asks for them: a window of batches at a time."""

    def __init__(self, model: Any, images: np.ndarray) -> None:
        entry, = model.graph.input
        fixed = entry.type.tensor_type.shape.dim[0].dim_value
        self.batches = [{entry.name: batch} for batch in split(images, fixed)]
        self.left: Iterator[Dict[str, np.ndarray]] = iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)

    def set_range(self, start_index: int, end_index: int) -> None:
        """The batches that come next."""
        self.left = iter(self.batches[start_index:end_index])

    def get_next(self) -> Optional[Dict[str, np.ndarray]]:
        """The next batch, None at the end of the window."""
        return next(self.left, None)


def one_line(error: Exception) -> str:
    """The first line of an error that is another package's."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
