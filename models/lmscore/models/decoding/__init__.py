"""Text from a model: sampling, greedy and beam search, many sequences a step."""
