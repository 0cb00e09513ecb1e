"""A backend that runs in llama.cpp, and the export of tuned weights to its GGUF files."""
