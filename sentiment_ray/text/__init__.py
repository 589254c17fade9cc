"""Text in, token ids out: cleaning, truncation and the tokenizer."""
