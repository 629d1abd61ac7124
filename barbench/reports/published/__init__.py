"""What the paper printed: `tables.csv` holds every cell of Tables 1-5, `text.csv` what its text says wrongly."""
