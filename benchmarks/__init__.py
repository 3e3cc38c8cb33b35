"""Measured claims. ``make bench`` runs all of them and prints one table: ratios within one run,
because machines differ and are noisy."""
