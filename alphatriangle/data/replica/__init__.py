"""The copy of a run elsewhere: verified, with at most one writer, and training goes on from it."""
