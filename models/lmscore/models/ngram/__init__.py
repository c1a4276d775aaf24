"""Back-off n-gram models: their entries, files, automaton and scores."""
