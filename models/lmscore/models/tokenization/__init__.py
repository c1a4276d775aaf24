"""Splitting texts into the tokens of a network, and joining them again."""
