"""`barbench check`: scores of a small subset, measured now and compared with a stored baseline."""
