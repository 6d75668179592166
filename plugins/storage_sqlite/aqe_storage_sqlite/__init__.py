"""The durable truth in one SQLite file."""
