"""Pages for the people who know what a good answer is: they read, accept and correct answers in a
browser.

Their feedback is saved in feedback.jsonl. Everything the pages do is also possible with the library
alone.
"""
