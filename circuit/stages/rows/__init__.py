"""What several stages need to know of the rows of an archive."""
