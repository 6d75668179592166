"""Test sources and result files to patterns and results."""
