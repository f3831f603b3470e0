"""Fakes and factories, shipped; no production code imports them."""
