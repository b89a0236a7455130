"""Linear algebra of few rows in many dimensions."""
