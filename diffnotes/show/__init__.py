"""Figures and explorers in general."""
