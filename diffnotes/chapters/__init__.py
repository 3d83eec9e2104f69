"""The mathematics of each chapter, NAME.py, and its figures, NAME_figures.py."""
