"""``circuit visualize``: pictures of artifacts, each with its numbers."""
