"""Several personalized models become one: weights from explanations, and arithmetic on adapters."""
