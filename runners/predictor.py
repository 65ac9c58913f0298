"""Measure sampled subnets on images held out of training and learn to predict their top-1."""

from nnabla_ofa.__main__ import run

if __name__ == "__main__":
    run("predictor")
