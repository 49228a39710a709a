"""Circuits: found edge by edge, estimated from gradients, knocked out, and judged.

Imports the root, `models` and `engine`.
"""
