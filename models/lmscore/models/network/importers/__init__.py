"""Networks of other programs, as checkpoint folders of this one."""
