"""Prompt sets, templates, concepts, questions, and tables of other programs."""
