"""Results of introspection commands as files and pictures."""
