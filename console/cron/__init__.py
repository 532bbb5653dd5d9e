"""The page that explains a cron expression to anybody."""
