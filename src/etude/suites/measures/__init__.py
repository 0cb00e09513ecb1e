"""Measures over many answers: shares of cases, calibration, invented names, forgetting, leaks, bias."""
