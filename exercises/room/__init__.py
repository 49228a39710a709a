"""The room in which an answer runs: a process that gets inputs and returns plain values.

What is right, and what was wrong, is decided outside (`exercises.checks`). So nothing that an
answer changes, leaves behind or breaks reaches whoever judges it, or the next exercise.
"""
