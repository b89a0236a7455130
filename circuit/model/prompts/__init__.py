"""Prompts: rendering, token ids, spans of characters, and positions."""
