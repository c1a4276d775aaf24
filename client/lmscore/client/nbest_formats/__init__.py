"""The n-best formats of other programs: a module a format, and the table of them."""
