"""Predict the accuracies of a file's subnets with a supernet, and compare with the file's own."""

from nnabla_ofa.__main__ import run

if __name__ == "__main__":
    run("rank")
