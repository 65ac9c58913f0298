"""Records of runs as Markdown, pictures and HTML. Nothing here knows how a subnet is written.

    protocol.py       what a record is, what a module of pages has
    selection.py      the records that a page is of
    accuracies.py     accuracies of subnets, by stage, split, subnet and image size
    published.py      published accuracies, as a record
    step_times.py     seconds of a training step, by contender
    cells.py          figures as text
    plots/            pictures, a file each; style.py: colours, axes, PNG
    pages/            Markdown, a module a page
    search_report.py  HTML of one search, by templates/search.html
"""
