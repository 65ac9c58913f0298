"""Regenerate every result table and picture under results/, and README's, from the records of runs."""

from nnabla_ofa.__main__ import run

if __name__ == "__main__":
    run("tables")
