//! The native pattern store: vectors under 64-bit keys, searched by nearness. No Python inside.
