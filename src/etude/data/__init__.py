"""Rows: the dataset, its file formats, the sealed split, the first task file."""
