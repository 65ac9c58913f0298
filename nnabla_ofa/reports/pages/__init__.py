"""Pages and pictures of results/ from records: pure functions of the records alone.

A module here, or of benchmarks/, that makes pages has

    pages(records) -> {file name: Markdown}     whose first line is the title; {} without its records
    figures(records) -> {file name: Figure}     the pictures that those pages show; left out without any
    COMMANDS = {file name: command}             what makes the records, if that is not a recipe's runs

and a place in the list of runners/tables.py. matplotlib, slow to import, is imported in `figures`.
"""
