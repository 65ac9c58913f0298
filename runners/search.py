"""Search a supernet for the most accurate subnets within limits on their cost."""

from nnabla_ofa.commands.search import COMMAND

if __name__ == "__main__":
    COMMAND.run()
