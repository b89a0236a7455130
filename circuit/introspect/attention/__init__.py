"""Where the last token attends."""
