"""OpenAI's files and fine-tuning jobs on this machine: objects of the API as folders on disk."""
