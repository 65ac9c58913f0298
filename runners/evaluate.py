"""Evaluate subnets of a supernet, or a stand-alone subnet, on every test image once."""

from nnabla_ofa.commands.evaluate import COMMAND

if __name__ == "__main__":
    COMMAND.run()
