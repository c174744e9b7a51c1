"""Claims on the coordinates of a process: EDM, VP, rectified flow."""
