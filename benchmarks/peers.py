"""Contenders: PyTorch with a minimal dynamic Xception41, and onnxruntime with its export.

Variants: "eager", "channels_last", "amp" (CUDA, half precision, channels_last), "onnxruntime"
(evaluation only) and "product" (a matrix product, for the limit). Runs in an environment of its own
(requirements-bench.txt), so it imports nothing of this project.
"""

from __future__ import annotations

import os
import re
import tempfile
from typing import Callable

import limit
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

WIDTHS = (32, 64, 128, 256, 728, 1024, 1536, 2048)


def make_divisible(width: float) -> int:
    """The multiple of 8 nearest to `width`, never more than 10% below it."""
    nearest = max(8, int(width + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * width else nearest


class ConvBn(nn.Module):
    """Convolution, batch normalisation."""

    def __init__(self, w_in: int, w_out: int, kernel: int, stride: int = 1):
        super().__init__()
        self.conv = nn.Conv2d(w_in, w_out, kernel, stride, kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(w_out)

    def forward(self, x):
        return self.bn(self.conv(x))


class Separable(nn.Module):
    """Depthwise, pointwise, batch normalisation of the first channels, with kernel transforms."""

    def __init__(self, w_in: int, w_out: int, kernel: int = 3):
        super().__init__()
        self.depthwise = nn.Conv2d(w_in, w_in, kernel, padding=kernel // 2, groups=w_in, bias=False)
        self.pointwise = nn.Conv2d(w_in, w_out, 1, bias=False)
        self.bn = nn.BatchNorm2d(w_out)
        self.steps = nn.ParameterDict({str(k): torch.eye(k * k) for k in range(kernel - 2, 1, -2)})

    def forward(self, x, w_out: int, kernel: int):
        w_in, bn = x.shape[1], self.bn
        weight = self.depthwise.weight[:w_in]
        for small in range(weight.shape[-1] - 2, kernel - 1, -2):
            centre = weight[:, :, 1:-1, 1:-1].reshape(w_in, small ** 2)
            weight = (centre @ self.steps[str(small)]).reshape(w_in, 1, small, small)
        x = F.conv2d(x, weight, padding=kernel // 2, groups=w_in)
        x = F.conv2d(x, self.pointwise.weight[:w_out, :w_in])
        return F.batch_norm(x, bn.running_mean[:w_out], bn.running_var[:w_out], bn.weight[:w_out],
                            bn.bias[:w_out], self.training, 0.1, bn.eps)


class Downsample(nn.Module):
    """Two separable layers and a max-pool, beside a 1x1/2 convolution."""

    def __init__(self, w_in: int, w_mid: int, w_out: int, relu_first: bool = True):
        super().__init__()
        self.first, self.second = Separable(w_in, w_mid), Separable(w_mid, w_out)
        self.skip, self.relu_first, self.widths = ConvBn(w_in, w_out, 1, 2), relu_first, (w_mid, w_out)

    def forward(self, x):
        y = self.first(F.relu(x) if self.relu_first else x, self.widths[0], 3)
        y = self.second(F.relu(y), self.widths[1], 3)
        return F.max_pool2d(y, 3, 2, 1) + self.skip(x)


class Xception41(nn.Module):
    """The elastic network; `subnet` is a list of eight (expand ratio, kernel, depth)."""

    def __init__(self, job: dict):
        super().__init__()
        w = self.widths = [make_divisible(width * job["width_mult"]) for width in WIDTHS]
        self.stem = nn.ModuleList([ConvBn(3, w[0], 3, job["stem_stride"]), ConvBn(w[0], w[1], 3)])
        self.entry = nn.Sequential(Downsample(w[1], w[2], w[2], relu_first=False),
                                   Downsample(w[2], w[3], w[3]), Downsample(w[3], w[4], w[4]))
        self.middle = nn.ModuleList([nn.ModuleList([Separable(w[4], w[4], 7) for _ in range(3)])
                                     for _ in range(8)])
        self.exit = nn.ModuleList([Downsample(w[4], w[4], w[5]), Separable(w[5], w[6]),
                                   Separable(w[6], w[7])])
        self.classifier = nn.Linear(w[7], job["classes"])
        found = re.findall(r"XP([\d.]+) (\d)x\d (\d)", job["subnet"])
        self.subnet = [(float(e), int(k), int(d)) for e, k, d in found] * (8 // len(found))

    def forward(self, x):
        for layer in self.stem:
            x = F.relu(layer(x))
        x = self.entry(x)
        width = self.widths[4]
        for units, (expand, kernel, depth) in zip(self.middle, self.subnet):
            y, inner = x, make_divisible(round(width * expand)) if expand < 1 else width
            for i, unit in enumerate(units[:depth]):
                y = unit(F.relu(y), width if i == depth - 1 else inner, kernel)
            x = x + y
        x = self.exit[0](x)
        for unit, w_out in zip(self.exit[1:], self.widths[6:]):
            x = F.relu(unit(x, w_out, 3))
        return self.classifier(F.dropout(x.mean((2, 3)), 0.1, self.training))


def prepare(variant: str, job: dict) -> Callable[[], object]:
    """One training step or one evaluated batch; waits for the GPU where there is one."""
    cores = len(os.sched_getaffinity(0))
    torch.set_num_threads(cores)
    torch.manual_seed(0)
    if variant == "product":
        a, b, c = (torch.ones(limit.SIDE, limit.SIDE) for _ in range(3))
        return lambda: torch.matmul(a, b, out=c)
    device = "cuda" if variant == "amp" else "cpu"
    layout = torch.contiguous_format if variant in ("eager", "onnxruntime") else torch.channels_last
    net = Xception41(job).to(device, memory_format=layout)
    x = torch.randn(job["batch"], 3, job["image_size"], job["image_size"], device=device)
    x = x.contiguous(memory_format=layout)
    if variant == "onnxruntime":
        return onnxruntime_batch(net.eval(), x, cores)
    if job["task"] == "evaluation":
        return torch_batch(net.eval(), x, variant == "amp")
    labels = torch.randint(job["classes"], (job["batch"],), device=device)
    return training_step(net.train(), x, labels, variant == "amp")


def training_step(net: nn.Module, x, labels, amp: bool) -> Callable[[], object]:
    """Forward, loss, backward and update of one batch."""
    optimiser = torch.optim.SGD(net.parameters(), 1e-4, 0.9, weight_decay=1e-5)
    scaler = torch.amp.GradScaler("cuda", enabled=amp)

    def step():
        optimiser.zero_grad()
        with torch.autocast(x.device.type, torch.float16, enabled=amp):
            loss = F.cross_entropy(net(x), labels, label_smoothing=0.1)
        scaler.scale(loss).backward()
        scaler.step(optimiser)
        scaler.update()
        return loss.item()  # waits for the device

    return step


def torch_batch(net: nn.Module, x, amp: bool) -> Callable[[], object]:
    """The logits of one batch, on the CPU."""
    def batch():
        with torch.inference_mode(), torch.autocast(x.device.type, torch.float16, enabled=amp):
            return net(x).cpu()

    return batch


def onnxruntime_batch(net: nn.Module, x, cores: int) -> Callable[[], object]:
    """The logits of one batch by onnxruntime; exporting slices the subnet's weights out."""
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = cores
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "subnet.onnx")
        torch.onnx.export(net, (x,), path, input_names=["x"], dynamo=False)  # dynamo needs onnxscript
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    feed = {"x": np.ascontiguousarray(x.numpy())}
    return lambda: session.run(None, feed)
