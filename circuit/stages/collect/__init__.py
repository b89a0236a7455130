"""``circuit collect``: prompts in, activations out."""
