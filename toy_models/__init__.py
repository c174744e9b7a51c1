"""Small denoisers with known or dialled error (issue: imperfect denoisers)."""
