"""Measures of a classifier on labelled rows, their intervals, and the temperature that calibrates it; arrays alone."""
