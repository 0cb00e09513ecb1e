"""A model's layers: adapters, attention, fused operations, and the last hidden states."""
