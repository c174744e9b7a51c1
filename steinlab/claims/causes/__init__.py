"""Claims on why corrections act as they do: causes in closed form."""
