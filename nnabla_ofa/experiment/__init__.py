"""Experiments: a recipe's data opened, its stages run, results recorded; the command lines' common part."""
