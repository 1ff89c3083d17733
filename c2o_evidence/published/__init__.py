"""Published tables: those in Markdown files and in manifests/reference, each cell recomputed from its rows."""
