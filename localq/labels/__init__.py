"""What a model name says: a grammar from names to labels. Pure: knows no file and no network."""
