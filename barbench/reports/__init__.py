"""Tables from records, for files and for the terminal; reads `results` and needs no torch."""
