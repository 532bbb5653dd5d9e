"""Move a tenant with all of its rows to another database, or into a file and back."""
