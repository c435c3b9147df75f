"""`python -m renova.main` is `renova`: for processes that start each other without a script on the path."""

from renova.main import run

if __name__ == "__main__":
    run()
