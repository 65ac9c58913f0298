"""Records of runs as Markdown, pictures and HTML. Nothing here knows how a subnet is written."""
