"""What methods share: the search for passages; the prompt, the rows and the training run of tuned
methods.
"""
