"""Who is calling: tenants, their users and their secrets. Knows nothing about tasks."""
