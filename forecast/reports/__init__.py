"""Show a run to a person: one page and PNG pictures."""
