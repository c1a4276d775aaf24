"""A section that fails, to be run as a program."""

if __name__ == "__main__":
    raise SystemExit("the peer has gone away")
