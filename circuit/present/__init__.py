"""Results as documents: findings, tables and figures, for the terminal, HTML and notebooks."""
