"""The record: SQLite now, PostgreSQL by the same statements."""
