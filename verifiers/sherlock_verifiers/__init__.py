"""Verifiers that ship with Sherlock, found through the entry point group `sherlock.verifiers`."""
