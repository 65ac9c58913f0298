"""MkDocs hooks: the committed results become pages of the site, under results/.

A page links to them as `../results/step.md`, which is where they lie in the repository: the link works
on a code host, too.
"""

from __future__ import annotations

from pathlib import Path

from mkdocs.structure.files import File

RESULTS = Path(__file__).resolve().parents[1] / "results"


def on_files(files, config):
    """Add the pages and pictures of results/."""
    for path in sorted(RESULTS.iterdir()):
        if path.suffix in (".md", ".png"):
            files.append(File.generated(config, f"results/{path.name}", abs_src_path=str(path)))
    return files


def on_page_markdown(markdown, page, config, files):
    """Turn links to the repository's results/ into links to the site's."""
    return markdown.replace("](../results/", "](results/")
