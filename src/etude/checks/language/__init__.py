"""Languages of texts, and texts in a different language from most."""
