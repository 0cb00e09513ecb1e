"""Token rows: batches, packing, and counts of learned tokens."""
