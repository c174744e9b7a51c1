"""The options of every command on Fashion-MNIST, apart from what reads the data."""

from gpu_models.network.fashion import HOW
from steinlab.cli.parser import Parser


def fashion_parser(name: str, description: str) -> Parser:
    """Return a parser with the folder of the data and the device."""
    made = Parser(name, description)
    made.add_argument("--data", help=f"folder of the IDX files ({HOW})")
    made.add_argument("--device", help="cpu or cuda; by default a GPU where there is one")
    return made
