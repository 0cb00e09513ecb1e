"""A finished test as a page, as JSON and JUnit, and in the terminal."""
