"""Wrong versions of `path_patch`, each with one mistake that people make. Tests must reject all."""

from mutants.path_patches import ALL

__all__ = ["ALL"]
