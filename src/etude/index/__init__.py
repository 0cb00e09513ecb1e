"""Documents to passages, and the search over them: by keywords, by meaning, or both."""
