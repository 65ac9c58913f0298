"""Puts the recipes of args/ into the wheel, as nnabla_ofa/args. All else is in pyproject.toml."""

from setuptools import find_packages, setup

setup(packages=[*find_packages(include=["nnabla_ofa", "nnabla_ofa.*"]), "nnabla_ofa.args"],
      package_dir={"nnabla_ofa.args": "args"})
