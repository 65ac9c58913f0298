"""Data sets: make one ready by name, check every image of one, look at what training sees."""

from nnabla_ofa.__main__ import run

if __name__ == "__main__":
    run("data")
