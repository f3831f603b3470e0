"""The one that changes arrays, attempts and states."""
