"""The pages of tasks: the list, one task, and the changes of several at once."""
