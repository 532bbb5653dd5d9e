"""The overview of a tenant: whether all is well, and if not, what is wrong."""
