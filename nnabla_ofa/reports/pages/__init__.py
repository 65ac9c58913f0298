"""Pages of results/ from records alone, a module a page, named after the page's file.

A module has what `reports.protocol.PageModule` says, and a place in the list of commands/tables.py.
`recipes` makes a page a recipe, `speed` makes step.md and population.md. `headline` fills README's table,
`index` makes results/README.md of all pages.

`figures` imports the pictures where it is called: matplotlib takes a second to import, and commands that
draw nothing import pages.
"""
