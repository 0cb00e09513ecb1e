"""After launch: the record of answered requests, and what it says about an assistant in use: `etude
watch`
"""
