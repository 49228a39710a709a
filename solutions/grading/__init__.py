"""Grade what learners hand in, without trusting any of it: python -m solutions grade.

The order of import: `words`, `keys`, `points`; `texts`, `collect`; `stage`, `sandbox` (and inside
it `inside`, `landlock`); `mark`; `feedback`, `tables`; `run`.
"""
