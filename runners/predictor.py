"""Measure sampled subnets on images held out of training and learn to predict their top-1."""

from nnabla_ofa.commands.predictor import COMMAND

if __name__ == "__main__":
    COMMAND.run()
