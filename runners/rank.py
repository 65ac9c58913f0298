"""Predict the accuracies of a file's subnets with a supernet, and compare with the file's own."""

from nnabla_ofa.commands.rank import COMMAND

if __name__ == "__main__":
    COMMAND.run()
