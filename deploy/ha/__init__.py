"""A highly available cell on one machine, by the same files as on several."""
