"""What is read from text: criteria, tool calls, text baselines."""
