"""Claims in the short form: a property of laws, levels and steps, with its negative controls."""
