//! The native text half: subtokens, embedding, BM25. No Python inside.
