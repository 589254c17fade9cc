"""What is wrong with reviews before anything is trained on them: counts, sample rows, and the page that shows both."""
