"""Training of networks: settings, text to batches, the loop, and what it leaves in a folder."""
