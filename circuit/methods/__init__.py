"""Array mathematics: numpy in, numpy out. No files, no models, no labels in words."""
