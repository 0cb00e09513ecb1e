"""Personal data, hostile language, refusals, advice and attacks in the rows."""
