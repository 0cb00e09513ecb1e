"""The layers of a model: adapters, attention, fused operations, and the last hidden states."""
