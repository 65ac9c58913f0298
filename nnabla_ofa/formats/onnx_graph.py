"""A graph of nnabla-converter in the operations that runtimes have kernels for, fast and int8 ones too.

nnabla-converter writes an operation of NNabla as several of ONNX. Here they become one again: ReLU6 a Clip,
the hard sigmoid a HardSigmoid, a mean over height and width a GlobalAveragePool, padding an attribute of the
convolution or pool after it. A padded border of -inf, as max-pooling has it, would also leave quantisation
without a range.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any, Dict, List, Optional, Sequence

import numpy as np

WINDOWED = ("Conv", "MaxPool", "AveragePool")


class Graph:
    """A model's graph while it is rewritten. onnx: the package; arrays: its constants by name."""

    def __init__(self, model: Any, onnx: ModuleType) -> None:
        self.onnx, self.graph = onnx, model.graph
        self.nodes: List[Any] = [node for node in model.graph.node if node.op_type != "Constant"]
        self.arrays: Dict[str, np.ndarray] = {
            array.name: onnx.numpy_helper.to_array(array) for array in model.graph.initializer}
        self.arrays.update((node.output[0], onnx.numpy_helper.to_array(node.attribute[0].t))
                           for node in model.graph.node if node.op_type == "Constant")

    def made_by(self, name: str, kind: str) -> Optional[Any]:
        """The node of a kind that gives a value to one node alone; None if it is another or given to more."""
        if sum(list(node.input).count(name) for node in self.nodes) != 1:
            return None
        return next((n for n in self.nodes if n.op_type == kind and name in n.output), None)

    def scalar(self, node: Any) -> Optional[float]:
        """The second input of a node, where that is one constant number, however often."""
        array = self.arrays.get(node.input[1]) if len(node.input) > 1 else None
        if array is None or not array.size or (array != array.flat[0]).any():
            return None
        return float(array.flat[0])

    def replace(self, last: Any, kind: str, inputs: List[str], without: List[Any], **attributes: Any) -> Any:
        """Put a node in the place of `last`, under the name of its value, and take others out."""
        made = self.onnx.helper.make_node(kind, inputs, list(last.output), **attributes)
        self.nodes[self.nodes.index(last)] = made
        self.nodes = [node for node in self.nodes if not any(node is other for other in without)]
        return made

    def constant(self, name: str, array: np.ndarray) -> str:
        """The name, now of this array."""
        self.arrays[name] = array
        return name

    def finish(self) -> None:
        """Write it all back, without constants that nobody reads."""
        read = {name for node in self.nodes for name in node.input}
        del self.graph.node[:], self.graph.initializer[:]
        self.graph.node.extend(self.nodes)
        self.graph.initializer.extend(self.onnx.numpy_helper.from_array(array, name)
                                      for name, array in self.arrays.items() if name in read)


def simplify(model: Any, onnx: ModuleType) -> None:
    """Rewrite a model of nnabla-converter in place; it computes the same."""
    graph = Graph(model, onnx)
    for rewrite in (clip, hard_sigmoid, global_mean, padding, broadcast):
        for node in list(graph.nodes):
            rewrite(graph, node)
    name_nodes(graph)
    graph.finish()


def clip(graph: Graph, node: Any) -> None:
    """min(relu(x), 6) -> Clip."""
    relu = graph.made_by(node.input[0], "Relu") if node.op_type == "Min" else None
    top = graph.scalar(node) if relu else None
    if relu and top is not None:
        bounds = [graph.constant(f"clip_{value:g}", np.array(value, np.float32)) for value in (0.0, top)]
        graph.replace(node, "Clip", [relu.input[0], *bounds], [relu])


def hard_sigmoid(graph: Graph, node: Any) -> None:
    """clip(x + 3, 0, 6) / 6 -> HardSigmoid."""
    bounded = graph.made_by(node.input[0], "Clip") if node.op_type == "Mul" else None
    shifted = graph.made_by(bounded.input[0], "Add") if bounded else None
    if not (bounded and shifted):
        return
    slope, shift, top = graph.scalar(node), graph.scalar(shifted), float(graph.arrays[bounded.input[2]])
    if slope and shift is not None and abs(slope * top - 1) < 1e-6:
        graph.replace(node, "HardSigmoid", [shifted.input[0]], [bounded, shifted], alpha=slope,
                      beta=slope * shift)


def global_mean(graph: Graph, node: Any) -> None:
    """A mean over height and width -> GlobalAveragePool, and Squeeze where these two are dropped."""
    if node.op_type != "ReduceMean":
        return
    attributes = {a.name: graph.onnx.helper.get_attribute_value(a) for a in node.attribute}
    if list(attributes.get("axes", ())) != [2, 3]:
        return
    made = graph.replace(node, "GlobalAveragePool", [node.input[0]], [])
    if not attributes.get("keepdims", 1):
        flat, made.output[0] = made.output[0], f"{made.output[0]}_pooled"
        axes = graph.constant("height_width", np.array([2, 3], np.int64))
        graph.nodes.insert(graph.nodes.index(made) + 1,
                           graph.onnx.helper.make_node("Squeeze", [made.output[0], axes], [flat]))


def padding(graph: Graph, node: Any) -> None:
    """A Pad that only the next convolution or pool reads -> its pads."""
    pad = graph.made_by(node.input[0], "Pad") if node.op_type in WINDOWED else None
    if pad is None or any(a.name == "mode" and a.s != b"constant" for a in pad.attribute):
        return
    value = float(graph.arrays[pad.input[2]]) if len(pad.input) > 2 else 0.0
    before, after = np.split(graph.arrays[pad.input[1]], 2)
    neutral = value == -np.inf if node.op_type == "MaxPool" else value == 0
    if not neutral or before[:2].any() or after[:2].any() or (before < 0).any() or (after < 0).any():
        return
    own = next((a for a in node.attribute if a.name == "pads"), None)
    sums = np.concatenate([before[2:], after[2:]]) + (np.array(own.ints) if own else 0)
    if own:
        node.attribute.remove(own)
    node.attribute.append(graph.onnx.helper.make_attribute("pads", [int(n) for n in sums]))
    node.input[0] = pad.input[0]
    graph.nodes.remove(pad)


def broadcast(graph: Graph, node: Any) -> None:
    """An Expand before a product is left out: a product stretches its operands itself."""
    if node.op_type == "Mul":
        for place, name in enumerate(node.input):
            expand = graph.made_by(name, "Expand")
            if expand:
                node.input[place] = expand.input[0]
                graph.nodes.remove(expand)


def name_nodes(graph: Graph) -> None:
    """Name each node: after its weights where it has some, else after its kind, with a number."""
    used: Dict[str, int] = {}
    for node in graph.nodes:
        weights = node.input[1] if len(node.input) > 1 else ""
        name = weights[:-len("/W")] if weights.endswith("/W") and weights in graph.arrays else node.op_type
        used[name] = used.get(name, 0) + 1
        node.name = name if name != node.op_type and used[name] == 1 else f"{name}_{used[name]}"


def normalise(model: Any, onnx: ModuleType, mean: Sequence[float], std: Sequence[float]) -> None:
    """Let a model take pixels, uint8 of 0 to 255, and compute (pixel / 255 - mean) / std itself.

    mean, std: of R, G and B, as fractions of 255.
    """
    graph, image = model.graph, model.graph.input[0]
    inside = f"{image.name}_normalised"
    for node in graph.node:
        node.input[:] = [inside if name == image.name else name for name in node.input]
    image.type.tensor_type.elem_type = onnx.TensorProto.UINT8
    center, spread = (np.array(values, np.float32).reshape(3, 1, 1) for values in (mean, std))
    graph.initializer.extend([onnx.numpy_helper.from_array(255 * center, "normalise_mean"),
                              onnx.numpy_helper.from_array(255 * spread, "normalise_std")])
    make = onnx.helper.make_node
    for place, node in enumerate([
            make("Cast", [image.name], ["pixels"], name="normalise_1", to=onnx.TensorProto.FLOAT),
            make("Sub", ["pixels", "normalise_mean"], ["pixels_centred"], name="normalise_2"),
            make("Div", ["pixels_centred", "normalise_std"], [inside], name="normalise_3")]):
        graph.node.insert(place, node)
