"""What subnets cost: parameters, MACs, activations, and latency on this device."""

from nnabla_ofa.__main__ import run

if __name__ == "__main__":
    run("profile")
