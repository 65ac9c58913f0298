"""The fixed networks: names, sizes, costs, published accuracies, and where else they exist."""

from nnabla_ofa.__main__ import run

if __name__ == "__main__":
    run("zoo")
