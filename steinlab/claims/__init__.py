"""The claims, one file each, and the random cases and checks that they share."""
