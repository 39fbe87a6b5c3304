"""From output pairs to embeddings and words: a causal LM or a sentence encoder behind one Protocol."""
