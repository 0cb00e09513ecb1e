"""Models behind an OpenAI-compatible URL: what is asked, sent until it is answered, and kept."""
