"""Statements about a continuum of laws, levels and steps, proved or refuted box by box.

:mod:`steinlab.verification.continuum.statement` says what a statement is,
:mod:`steinlab.verification.continuum.search` decides it by branch and bound,
:mod:`steinlab.verification.continuum.certificate` writes what was found, and checks it.
"""
