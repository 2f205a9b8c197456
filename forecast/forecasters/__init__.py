"""Everything that can forecast a window."""
