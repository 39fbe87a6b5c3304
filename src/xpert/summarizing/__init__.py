"""From output pairs to embeddings and words: a causal LM, a sentence encoder or a CLIP behind one Protocol."""
