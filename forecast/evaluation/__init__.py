"""Measure how good a forecast is, and whether that is luck."""
