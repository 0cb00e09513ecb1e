"""Checks of single rows, of repeats among rows, and of how many there are."""
