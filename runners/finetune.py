"""Extract one subnet of a supernet and train it on, alone; evaluated before and after."""

from nnabla_ofa.__main__ import run

if __name__ == "__main__":
    run("finetune")
