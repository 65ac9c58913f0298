"""Name what is on images: the classes of a trained network, with their probabilities."""

from nnabla_ofa.__main__ import run

if __name__ == "__main__":
    run("predict")
