"""The page that answers why a task fires, or does not, at any moment."""
