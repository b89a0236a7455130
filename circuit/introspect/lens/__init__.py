"""States and next-token distributions at the last token."""
