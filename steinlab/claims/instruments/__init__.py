"""What claims share: draws of steps and laws, checks, enclosures, observed orders, paired runs."""
