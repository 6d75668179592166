"""Test sources of languages other than Python, by their syntax trees (tree-sitter); nothing is run."""
