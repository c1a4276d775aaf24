"""Neural networks as language models: their files, their modules, and scoring as a trie."""
