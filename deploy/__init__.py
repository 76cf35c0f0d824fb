"""How Coexist is deployed, and what makes the files for it; not part of the package that is installed."""
