"""The HTTP API that OpenAI's clients speak, around an Assistant: what is served is what was measured."""
