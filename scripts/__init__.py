"""Tools of the project: migrate, run, lint, test, configure and measure."""
