"""The operator page: plain files that the admin listener serves, and what it shows of a running Coexist.

Nothing here decides anything. It reads the ports (log and store) and the metrics, so it is the same in every edition.
"""
