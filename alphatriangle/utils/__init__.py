"""Types, seeding, devices, the sum tree: what several packages share."""
