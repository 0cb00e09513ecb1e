"""The memory of a training run, and estimates of its time, memory and disk space."""
