"""The regression gate, `barbench check`: a small fixed matrix, measured now and compared with a stored baseline."""
