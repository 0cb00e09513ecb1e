"""Helpers that do not depend on the domain: files, JSON, formatting, issues, processes, parts of
pages.
"""
