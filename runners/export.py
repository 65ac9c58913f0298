"""Write one network as a file for other programs: NNP, ONNX, or a checkpoint of nnabla-nas."""

from nnabla_ofa.__main__ import run

if __name__ == "__main__":
    run("export")
