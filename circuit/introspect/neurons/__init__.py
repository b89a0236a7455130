"""Choosing and describing single neurons."""
