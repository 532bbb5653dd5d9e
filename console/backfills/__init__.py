"""The pages of backfills: plan one, ask for it, and see how its runs go."""
