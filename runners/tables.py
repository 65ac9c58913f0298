"""Regenerate every result table and picture under results/, and README's, from the records of runs."""

from nnabla_ofa.commands.tables import COMMAND

if __name__ == "__main__":
    COMMAND.run()
