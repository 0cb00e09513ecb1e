"""The routes, one file per resource, in one table."""
