"""Plumbing that knows nothing of the domain: files, text on disk, wording, processes, parts of pages."""
