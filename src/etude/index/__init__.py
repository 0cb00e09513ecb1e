"""Split documents into passages, and search them by keywords, by meaning, or both."""
