"""Behaviour tests: an assistant beside its base on normal, unusual, tricky and sensitive questions, with gates."""
