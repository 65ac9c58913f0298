"""The networks of once-for-all in NumPy, float64, straight from its state dicts and its dicts of subnets.

Written from the description of the networks alone, so that ours can be compared with something else where the
original's own logits are not at hand; where they are, this is compared with them, too.
"""

from __future__ import annotations

import numpy as np

STRIDES = (2, 2, 2, 1, 2, 1)
SQUEEZED = (False, True, False, True, True)  # stages of MobileNetV3 with squeeze-and-excitation
WIDTHS = (0.65, 0.8, 1.0)


def relu6(x):
    return np.clip(x, 0, 6)


def relu(x):
    return np.maximum(x, 0)


def hard_swish(x):
    return x * relu6(x + 3) / 6


def divisible(value):
    """The multiple of 8 nearest to a number of channels, not more than 10% below it."""
    found = max(8, int(value + 4) // 8 * 8)
    return found + 8 if found < 0.9 * value else found


def convolve(x, weight, stride=1, depthwise=False):
    edge = weight.shape[-1] // 2
    x = np.pad(x, ((0, 0), (0, 0), (edge, edge), (edge, edge)))
    windows = np.lib.stride_tricks.sliding_window_view(x, weight.shape[-2:], axis=(2, 3))
    windows = windows[:, :, ::stride, ::stride]
    if depthwise:
        return np.einsum("nchwij,cij->nchw", windows, weight[:, 0], optimize=True)
    return np.einsum("nchwij,ocij->nohw", windows, weight, optimize=True)


class State:
    """A state dict by the names of modules, whether an elastic or a fixed layer has them."""

    def __init__(self, state, eps):
        self.state, self.eps = {key: np.asarray(a, np.float64) for key, a in state.items()
                                if not key.endswith("num_batches_tracked")}, eps

    def weight(self, module, kind="conv"):
        found = [f"{module}.{kind}.{kind}.weight", f"{module}.{kind}.weight"]
        return self.state[next(key for key in found if key in self.state)]

    def bn(self, x, module):
        base = next(b for b in (f"{module}.bn.bn", f"{module}.bn") if f"{b}.weight" in self.state)
        gamma, beta, mean, var = (self.state[f"{base}.{key}"][:x.shape[1], None, None]
                                  for key in ("weight", "bias", "running_mean", "running_var"))
        return gamma * (x - mean) / np.sqrt(var + self.eps) + beta

    def conv_bn(self, x, module, out, stride=1):
        """The first `out` channels of a convolution that reads as many as there are, and its BN."""
        return self.bn(convolve(x, self.weight(module)[:out, :x.shape[1]], stride), module)

    def kernel(self, module, size):
        """A depthwise kernel, taken through its matrices."""
        weight = self.weight(module)
        for large, small in ((7, 5), (5, 3)):
            if size < large == weight.shape[-1]:
                centre = weight[:, 0, 1:-1, 1:-1].reshape(len(weight), -1)
                matrix = self.state[f"{module}.conv.{large}to{small}_matrix"]
                weight = (centre @ matrix.T).reshape(len(weight), 1, small, small)
        return weight

    def linear(self, x, module):
        weight = self.weight(module, "linear")
        bias = next(a for key, a in self.state.items() if key.startswith(module) and key.endswith("bias"))
        return x @ weight[:, :x.shape[1]].T + bias


def mobile(state, arch, x, proxyless):
    """Logits of a subnet of MobileNetV3 or ProxylessNAS. arch: {"ks", "e", "d"}."""
    net = State(state, 1e-3 if proxyless else 1e-5)
    first = relu6 if proxyless else hard_swish
    x = first(net.conv_bn(x, "first_conv", None, 2))
    body, y = "blocks.0.conv", x
    y = net.bn(convolve(y, net.weight(f"{body}.depth_conv"), depthwise=True), f"{body}.depth_conv")
    y = net.conv_bn((relu6 if proxyless else relu)(y), f"{body}.point_linear", None)
    x = x + y if not proxyless and x.shape == y.shape else y
    for stage, depth in enumerate(arch["d"]):
        act = relu6 if proxyless else relu if stage < 2 else hard_swish
        for number in range(depth if stage < 5 else 1):
            place = 4 * stage + number
            stride = STRIDES[stage] if number == 0 else 1
            squeezed = not proxyless and SQUEEZED[stage]
            y = block(net, x, f"blocks.{place + 1}.conv", arch["ks"][place], arch["e"][place], stride, act,
                      squeezed)
            x = x + y if x.shape == y.shape and stride == 1 else y
    if proxyless:
        x = relu6(net.conv_bn(x, "feature_mix_layer", None)).mean((2, 3))
    else:
        x = hard_swish(net.conv_bn(x, "final_expand_layer", None)).mean((2, 3), keepdims=True)
        x = hard_swish(convolve(x, net.weight("feature_mix_layer")))[:, :, 0, 0]
    return net.linear(x, "classifier")


def block(net, x, body, kernel, ratio, stride, act, squeezed):
    """An inverted residual block without its shortcut."""
    inner = divisible(round(x.shape[1] * ratio))
    y = act(net.conv_bn(x, f"{body}.inverted_bottleneck", inner))
    y = convolve(y, net.kernel(f"{body}.depth_conv", kernel)[:inner], stride, depthwise=True)
    y = act(net.bn(y, f"{body}.depth_conv"))
    if squeezed:
        units = divisible(inner // 4)
        (down, b), (up, c) = ([net.state[f"{body}.depth_conv.se.fc.{part}.{key}"]
                               for key in ("weight", "bias")] for part in ("reduce", "expand"))
        s = relu(y.mean((2, 3)) @ down[:units, :inner, 0, 0].T + b[:units])
        y = y * (relu6(s @ up[:inner, :units, 0, 0].T + c[:inner] + 3) / 6)[:, :, None, None]
    return net.conv_bn(y, f"{body}.point_linear", None)


def resnet(state, arch, x, stage_widths):
    """Logits of a subnet of ResNet50-D. arch: {"d", "e", "w"}."""
    net, width = State(state, 1e-5), [WIDTHS[index] for index in arch["w"]]
    x = relu(net.conv_bn(x, "input_stem.0", divisible(divisible(64 * width[0]) // 2), 2))
    if arch["d"][0] == 2:
        x = x + relu(net.conv_bn(x, "input_stem.1.conv", x.shape[1]))
    x = relu(net.conv_bn(x, "input_stem.2", divisible(64 * width[1])))
    x = pooled(x, 3, -np.inf, np.max, 1)
    place = 0
    for stage, least in enumerate((2, 2, 4, 2)):
        out = divisible(stage_widths[stage] * width[2 + stage])
        for number in range(least + arch["d"][1 + stage]):
            base, stride = f"blocks.{place + number}", 2 if stage and number == 0 else 1
            inner = divisible(round(out * arch["e"][place + number]))
            y = relu(net.conv_bn(x, f"{base}.conv1", inner))
            y = net.conv_bn(relu(net.conv_bn(y, f"{base}.conv2", inner, stride)), f"{base}.conv3", out)
            if number == 0:
                x = pooled(x, 2, np.nan, np.nanmean, 0) if stride == 2 else x
                x = net.conv_bn(x, f"{base}.downsample", out)
            x = relu(x + y)
        place += least + 2
    return net.linear(x.mean((2, 3)), "classifier")


def pooled(x, size, border, how, edge):
    """Windows of stride 2, with what a window that reaches over the border finds there."""
    odd = (0, 0) if edge else tuple(n % 2 for n in x.shape[2:])
    x = np.pad(x, ((0, 0), (0, 0), (edge, edge + odd[0]), (edge, edge + odd[1])), constant_values=border)
    windows = np.lib.stride_tricks.sliding_window_view(x, (size, size), axis=(2, 3))[:, :, ::2, ::2]
    return how(windows, axis=(4, 5))
