"""Token rows: batches, packing, and which tokens are learned."""
