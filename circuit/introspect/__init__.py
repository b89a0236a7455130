"""One file per one-off question about a model."""
