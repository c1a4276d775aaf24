"""Commands that need models and no server."""
