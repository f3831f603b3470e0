"""The cycle, again and again."""
