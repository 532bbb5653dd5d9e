"""The settings of a tenant: who may what, who is told of what, and what is kept."""
