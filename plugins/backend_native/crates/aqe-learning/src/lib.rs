//! The native learners: tabular values, replay, bandits. No Python inside.
