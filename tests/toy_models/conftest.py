"""What the tests of toy models leave out of collection: the generator needs JAX."""

collect_ignore = ["galaxies/make_galaxy_reference.py"]
