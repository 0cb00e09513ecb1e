"""A finished test as a page and as JSON."""
