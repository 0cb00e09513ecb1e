"""Measures over many answers: shares of cases, invented names, forgetting, leaks, bias."""
