"""The report: one self-contained HTML page of the ledger, its findings and its figures."""
