"""The commands behind `services.cli`, which imports each when it runs."""
