"""Limits of an assistant: questions unlike its training rows are turned away with a sentence from
the task.
"""
