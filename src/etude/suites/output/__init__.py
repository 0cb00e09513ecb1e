"""A finished test as a page, as JSON and as JUnit."""
