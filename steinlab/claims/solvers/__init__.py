"""Claims on solvers: orders, equivalences, published formulas, the splitting of errors."""
