"""Features of style on which answers are split with no relation to their input."""
