"""OpenAI's API besides chats, completions and models, and the import of what it saved."""
