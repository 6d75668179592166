"""Experience replay in NumPy."""
