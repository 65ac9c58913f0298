"""Search a supernet for the most accurate subnets within limits on their cost."""

from nnabla_ofa.__main__ import run

if __name__ == "__main__":
    run("search")
