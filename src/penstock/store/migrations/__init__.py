"""Migrations of the tables, from the first day."""
