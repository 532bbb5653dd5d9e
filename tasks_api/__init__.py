"""Tasks, the runs that they make, and the requests that are sent for them."""
