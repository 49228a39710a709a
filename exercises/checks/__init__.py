"""The checks, a file for each chapter. Importing this package registers all of them."""

from exercises.checks import ch01_sum, ch05_four_passes, ch06_choosing_receivers

__all__ = ["ch01_sum", "ch05_four_passes", "ch06_choosing_receivers"]
