"""The ``lmscore`` command."""
