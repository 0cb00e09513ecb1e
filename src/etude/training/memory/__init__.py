"""The memory of a training run, and its measurement before the first step."""
