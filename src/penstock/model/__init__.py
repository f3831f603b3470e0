"""Frozen values and the tables of states."""
