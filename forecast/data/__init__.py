"""Read what is in the file: rows, timestamps, repairs, and the panel of series."""
