"""Four businesses on a working day, as scripts to run and to read: `coexist demo --scenario NAME`.

Each module is one story in the order in which it happens; `stage.py` is what a story can do, `play.py` runs it.
"""

SCENARIOS = {
    "campaign": "a boutique sends personal templates, and a person goes on with whoever answers",
    "booking": "a hotel's bot confirms a booking, and the front desk changes it by hand at the last minute",
    "leads": "an estate agency's bot qualifies people, and an agent takes over the one who wants to buy",
    "orders": "a restaurant's orders run by themselves, while tables are reserved by hand",
}
"""What each scenario is about; the module of the same name tells it."""
