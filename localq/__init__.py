"""localq: reads, explains and runs quantised language models from any checkpoint."""
