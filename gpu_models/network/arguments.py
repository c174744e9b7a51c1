"""The options that commands on Fashion-MNIST share."""

from __future__ import annotations

from gpu_models.network import fashion
from steinlab.cli.parser import Parser


def fashion_parser(name: str, description: str) -> Parser:
    """Return a parser of the folder of the data and the device."""
    parser = Parser(name, description)
    parser.add_argument("--data", help=f"folder of the IDX files ({fashion.HOW})")
    parser.add_argument("--device", help="cpu or cuda; by default a GPU where there is one")
    return parser
