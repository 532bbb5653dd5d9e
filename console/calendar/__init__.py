"""The calendar: when many tasks fire, in the past and in the time to come."""
