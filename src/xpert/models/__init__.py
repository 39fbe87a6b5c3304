"""Language models and diffusion pipelines: references, digests, adapters, loading, generation."""
