"""The connection to Redis, for each form that REDIS_URL may have.

What is written there, and what a message means, is for others to say.
"""
