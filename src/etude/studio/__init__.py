"""Pages for the people who know what a good answer is: they read, accept and correct answers in a browser.

What they say goes to feedback.jsonl, and the pages do nothing that the library cannot do without them.
"""
