"""Figures: heat maps, attention, the four passes and circuits as diagrams.

The only wing that imports matplotlib. Imports whatever it draws, from the root to `circuits`.
"""
