"""Loading and running language models: references, digests, adapters, generation."""
