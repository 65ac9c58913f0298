"""Train an elastic network through the stages of progressive shrinking, up to a search space."""

from nnabla_ofa.__main__ import run

if __name__ == "__main__":
    run("train")
