"""The device's story: personal data stays here; a start is chosen from a pool, or merged, and tuned from there."""
