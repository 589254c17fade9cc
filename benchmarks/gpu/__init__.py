"""Measures training, export and scoring on a CUDA GPU; `python -m benchmarks.gpu --help` says how.

Start at `parts.py`: it lists the measurements. `__main__.py` runs each in a process of its own.
"""
