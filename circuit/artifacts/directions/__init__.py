"""Directions in memory, and their shapes in the files of other programs."""
