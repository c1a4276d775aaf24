"""Language models: vocabularies, tokenization, n-grams and their scores. Knows nothing of gRPC."""
