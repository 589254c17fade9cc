"""Decides for every stage which files an input means: a file, a directory or a glob, on a disk or an object store."""
