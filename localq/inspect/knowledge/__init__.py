"""What is known about quantisation schemes: tables by family of schemes, pure Python."""
