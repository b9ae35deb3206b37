"""`python -m qcore`: the same as the command `qcore`."""

from qcore.cli import main

if __name__ == "__main__":
    main()
