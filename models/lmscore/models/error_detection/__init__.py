"""Words that a model does not expect, and what it would rather have there."""
