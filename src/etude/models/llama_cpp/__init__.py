"""A backend that runs in llama.cpp, and tuned weights as the GGUF files that it reads."""
