"""Name what is on images: the classes of a trained network, with their probabilities."""

from nnabla_ofa.commands.predict import COMMAND

if __name__ == "__main__":
    COMMAND.run()
