"""What the pages of stages share: one look, plots that stand in the page, numbers for people."""
