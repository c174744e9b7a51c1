"""Statements over boxes of laws, levels and steps; ``steinlab certify`` decides them."""
