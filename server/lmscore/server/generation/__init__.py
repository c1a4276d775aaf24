"""Generate: one loop per model, in which the texts of all calls advance together."""
