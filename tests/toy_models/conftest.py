"""What the tests of toy models leave out of collection: the generator needs JAX."""

collect_ignore = ["make_galaxy_reference.py"]
