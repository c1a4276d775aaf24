"""Weights of a combination from n-best lists with references."""
