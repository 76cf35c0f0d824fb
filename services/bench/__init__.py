"""`coexist bench`: each goal of performance beside its floor."""
