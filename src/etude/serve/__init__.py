"""The HTTP API of OpenAI around an Assistant: clients get exactly what was measured."""
