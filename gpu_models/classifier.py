"""The old name of ``steinlab train-classifier``."""

from steinlab.cli import door

if __name__ == "__main__":
    door("train-classifier")
