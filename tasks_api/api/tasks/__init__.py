"""The tasks surface: one-time and periodic tasks of a bearer-token user."""
