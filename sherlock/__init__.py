"""Sherlock."""
