"""The run directory: its files, its status, and what a finished run knows."""
