"""Changes to libraries that the service needs, one library a file.

Each file says what it changes, in which version, why, and until when. What depends on our
own code is passed in as a parameter.
"""
