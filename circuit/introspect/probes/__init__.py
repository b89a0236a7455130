"""A probe of two lists of prompts."""
