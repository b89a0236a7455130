"""Arrays in, matplotlib figure out."""
