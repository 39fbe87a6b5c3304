"""Tiny real models and the contracts that every implementation must pass; for our tests and yours."""
