"""One file per pipeline command: read artifacts, compute, write artifacts."""
