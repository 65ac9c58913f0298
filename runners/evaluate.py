"""Evaluate subnets of a supernet, or a stand-alone subnet, on every test image once."""

from nnabla_ofa.__main__ import run

if __name__ == "__main__":
    run("evaluate")
