"""Many senders over many prompts: what a sweep costs, its fast and its literal form, its blocks.

The numbers are those of the root's three methods. Imports the root and `models`; like all wings to
the right of `handmade` it would work without the hand-made models.
"""
