"""Steering files of other tools: one module per format, found by listing this folder.

A module has ``SUFFIX``, ``read(path) -> list[Direction]`` and ``write(path, direction, *, force)``.
"""
