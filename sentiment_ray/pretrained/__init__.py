"""Models as transformers saves them, from a disk or the Hub: checked before transformers reads them."""
