"""Data sets: make one ready by name, check every image of one, look at what training sees."""

from nnabla_ofa.commands.data import COMMAND

if __name__ == "__main__":
    COMMAND.run()
