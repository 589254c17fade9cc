"""A bundle and texts in, scores out."""
