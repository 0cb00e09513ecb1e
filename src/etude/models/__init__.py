"""Models: anything that answers requests. `registry.Models` loads them, each base only once."""
