"""Write one network as a file for other programs: NNP, ONNX, or a checkpoint of nnabla-nas."""

from nnabla_ofa.commands.export import COMMAND

if __name__ == "__main__":
    COMMAND.run()
