"""The device's story: personal data stays here, only the chosen pLLM is fetched."""
