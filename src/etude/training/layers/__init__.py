"""A model's layers: adapters, attention, fused operations, full weights."""
