"""Objects that were saved from OpenAI's API, and the task file that they become."""
