"""The embedded default: pattern store, learners, analyzer and lexical embedder in plain NumPy."""
