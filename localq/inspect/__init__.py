"""What a checkpoint really is, from headers alone, and how to say it."""
