"""Proved enclosures in ball arithmetic."""
