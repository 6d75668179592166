"""Quantizers by NumPy alone, the reference of the others."""
