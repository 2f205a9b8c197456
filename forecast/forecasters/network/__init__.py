"""Recurrent networks: described once as data, read by Keras and by NumPy."""
