"""Steering files: the archive of circuit and the formats of other programs."""
