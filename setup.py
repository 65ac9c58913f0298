"""Puts the recipes of args/ and the scripts of deploy/ into the wheel, as parts of nnabla_ofa.

All else is in pyproject.toml.
"""

from setuptools import find_packages, setup

setup(packages=[*find_packages(include=["nnabla_ofa", "nnabla_ofa.*"]), "nnabla_ofa.args",
                "nnabla_ofa.deploy"],
      package_dir={"nnabla_ofa.args": "args", "nnabla_ofa.deploy": "deploy"})
