"""Languages of texts, and texts in another language than the others."""
