"""Reads raw rows out of every format that reviews come in."""
