"""What two writers answer to the same prompts: models and people become output pairs."""
