"""The shared space of explanations: arithmetic over words and vectors; no model, no text."""
