"""Labels that look wrong or contradict each other."""
