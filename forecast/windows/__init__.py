"""Split the panel in time, scale it, and cut the windows that may be seen and are scored."""
