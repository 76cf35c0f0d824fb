"""Meta in a box: a stand-in for the WhatsApp platform that speaks real HTTP.

A program of its own beside the service: it imports none of the service's packages, so a mistake made there
cannot be repeated here and hidden. What it promises is Meta's contract (webhooks, Graph answers, limits,
habits), everything chosen by one seed, and a ledger of deliveries and sends that audits can trust.
"""
