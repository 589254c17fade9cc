"""What is wrong with the reviews, before a model is trained on them: counts, example rows, and the page with both."""
