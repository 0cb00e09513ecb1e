"""The ladder of methods on one sealed test, and the verdict on it."""
