"""Claims on the systems beside the paper: solvers, grids and tables that others propose."""
