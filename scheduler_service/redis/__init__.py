"""How the service reaches Redis, in each form that REDIS_URL may have.

What is written there, and what a message means, is for others to say.
"""
