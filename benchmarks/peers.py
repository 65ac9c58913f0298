"""Contenders: PyTorch with the same network (torch_nets.py), and onnxruntime with its export.

Variants: "eager", "channels_last", "bf16" (autocast of the CPU, channels_last), "amp" (CUDA, half
precision, channels_last), "onnxruntime" (evaluation only) and "product" (a matrix product, for the limit).
Runs in an environment of its own (requirements-bench.txt), without NNabla.
"""

from __future__ import annotations

import os
import tempfile
from typing import Callable

import limit
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch_nets import Net

HALF = {"amp": torch.float16, "bf16": torch.bfloat16}


def prepare(variant: str, job: dict) -> Callable[[], object]:
    """One training step, or one evaluated batch; waits for the GPU where there is one."""
    cores = len(os.sched_getaffinity(0))
    torch.set_num_threads(cores)
    torch.manual_seed(0)
    if variant == "product":
        a, b, c = (torch.ones(limit.SIDE, limit.SIDE) for _ in range(3))
        return lambda: torch.matmul(a, b, out=c)
    device = "cuda" if variant == "amp" else "cpu"
    layout = torch.contiguous_format if variant in ("eager", "onnxruntime") else torch.channels_last
    net = Net(job).to(device, memory_format=layout)
    x = torch.randn(job["batch"], 3, job["image_size"], job["image_size"], device=device)
    x = x.contiguous(memory_format=layout)
    if variant == "onnxruntime":
        return onnxruntime_batch(net.eval(), x, cores)
    autocast = torch.autocast(device, HALF.get(variant), enabled=variant in HALF)
    if job["task"] == "evaluation":
        return torch_batch(net.eval(), x, autocast)
    labels = torch.randint(job["net"]["classes"], (job["batch"],), device=device)
    return training_step(net.train(), x, labels, autocast)


def training_step(net: nn.Module, x, labels, autocast) -> Callable[[], object]:
    """Forward, loss, backward and update of one batch."""
    optimiser = torch.optim.SGD(net.parameters(), 1e-4, 0.9, weight_decay=1e-5)
    scaler = torch.amp.GradScaler(x.device.type, enabled=x.is_cuda)

    def step():
        optimiser.zero_grad()
        with autocast:
            loss = F.cross_entropy(net(x), labels, label_smoothing=0.1)
        scaler.scale(loss).backward()
        scaler.step(optimiser)
        scaler.update()
        return loss.item()  # waits for the device

    return step


def torch_batch(net: nn.Module, x, autocast) -> Callable[[], object]:
    """The logits of one batch, on the CPU."""
    def batch():
        with torch.inference_mode(), autocast:
            return net(x).cpu()

    return batch


def onnxruntime_batch(net: nn.Module, x, cores: int) -> Callable[[], object]:
    """The logits of one batch by onnxruntime."""
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = cores
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "subnet.onnx")
        torch.onnx.export(net, (x,), path, input_names=["x"], dynamo=False)  # dynamo needs onnxscript
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    feed = {"x": np.ascontiguousarray(x.numpy())}
    return lambda: session.run(None, feed)
