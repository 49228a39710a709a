"""Grade what learners hand in, without trusting any of it: python -m solutions grade.

The order of import: `keys`, `points`, `plan`; `texts`, `collect`; `stage`, `commands`, `watch`,
`sandbox` (and what runs in it: `inside`, `landlock`); `hidden`, `mark`; `feedback`, `tables`;
`run`.
"""
