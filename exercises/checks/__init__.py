"""The checks, by chapter. Importing this package registers all of them."""

from exercises.checks import ch01_sum

__all__ = ["ch01_sum"]
