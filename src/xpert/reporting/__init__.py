"""How results look to people: bars in the terminal, and static pages. Loads no model."""
