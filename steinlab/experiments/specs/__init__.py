"""What a SPEC.json may say: frozen records, and parsers that name each bad field.

Nothing is imported here: ``steinlab.experiments.specs.fields`` stays light for the command line's
start.
"""
