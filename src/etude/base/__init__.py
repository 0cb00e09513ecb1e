"""Plumbing that knows nothing of the domain: files, JSON, formatting, issues of inputs, processes, parts of pages."""
