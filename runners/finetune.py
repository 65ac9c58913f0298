"""Extract one subnet of a supernet and train it on, alone; evaluated before and after."""

from nnabla_ofa.commands.finetune import COMMAND

if __name__ == "__main__":
    COMMAND.run()
