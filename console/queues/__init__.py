"""The pages of pull queues: does somebody fetch, and what waits?"""
