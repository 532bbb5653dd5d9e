"""The pages of runs: what failed and why, and the whole story of one run."""
