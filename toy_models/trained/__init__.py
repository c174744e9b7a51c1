"""Small networks trained here, with their data and weights."""
