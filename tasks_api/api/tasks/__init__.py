"""The tasks API: one-time and periodic tasks, their runs, and tasks by declaration.

Its fields are read and shown here; what they mean is for `domain` and `services`.
"""
