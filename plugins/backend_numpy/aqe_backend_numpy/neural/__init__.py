"""Small neural policies in NumPy: gradients by hand, no framework."""
