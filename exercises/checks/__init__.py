"""The checks, by chapter. Importing this package registers all of them."""

from exercises.checks import (
    ch01_sum,
    ch05_by_hooks,
    ch05_directions,
    ch05_pass_c,
    ch05_pass_d,
    ch05_repaired,
    ch05_signs,
    ch06_my_choice,
    ch06_planted,
    ch06_shared,
    ch07_conclude,
    ch07_standing_out,
    stored,
)

__all__ = [
    "ch01_sum",
    "ch05_by_hooks",
    "ch05_directions",
    "ch05_pass_c",
    "ch05_pass_d",
    "ch05_repaired",
    "ch05_signs",
    "ch06_my_choice",
    "ch06_planted",
    "ch06_shared",
    "ch07_conclude",
    "ch07_standing_out",
    "stored",
]
