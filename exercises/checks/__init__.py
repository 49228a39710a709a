"""The checks, by chapter. Importing this package registers all of them."""

from exercises.checks import (
    ch01_sum,
    ch05_directions,
    ch05_four_passes,
    ch06_choosing_receivers,
    ch06_planted,
)

__all__ = [
    "ch01_sum",
    "ch05_directions",
    "ch05_four_passes",
    "ch06_choosing_receivers",
    "ch06_planted",
]
