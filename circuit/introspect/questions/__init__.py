"""One-off questions about a model: one file each, named as its command."""
