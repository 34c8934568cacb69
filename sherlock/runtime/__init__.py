"""Runs a graph past the verification of its nodes, and rolls back what a verdict refutes."""
