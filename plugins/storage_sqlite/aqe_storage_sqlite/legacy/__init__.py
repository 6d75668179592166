"""Databases of agentic-qe 2.8: read as they are, and taken over without losing a row."""
