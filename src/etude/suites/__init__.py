"""Behaviour tests: normal, unusual, tricky and sensitive questions to an assistant and its base,
with gates.
"""
