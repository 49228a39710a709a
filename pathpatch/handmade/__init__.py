"""Transformers whose weights are written by hand, with the true effect of every path in them.

Imports the root, `tasks` and `models`.
"""
