"""From a model's name to files on this machine: references, search, downloads, what is here."""
