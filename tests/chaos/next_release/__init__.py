"""One migration more, as the next release may have it: it needs a lock of the tasks."""
