"""Everything that speaks Postgres: the pool, the store on it, its dialect."""
