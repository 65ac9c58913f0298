"""Train an elastic network through the stages of progressive shrinking, up to a search space."""

from nnabla_ofa.commands.train import COMMAND

if __name__ == "__main__":
    COMMAND.run()
