"""What the server and the studio share: API keys, the checks around every request, and error
bodies.
"""
