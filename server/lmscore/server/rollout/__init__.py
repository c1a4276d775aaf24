"""From a folder of models and versions to the ones that answer, without an interruption."""
