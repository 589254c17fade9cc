"""What all report pages share: their look, plots inside the page, and numbers as people read them."""
