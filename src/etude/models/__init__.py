"""Models: anything that answers requests. `registry.Models` hands them out, each base loaded once."""
