"""KenLM's binary files, read in place: header, vocabulary, probing tables and tries, scores."""
