"""Neural denoisers on real images and exact denoisers at scale."""
