"""The page that asks two models the same text, for people who compare a base model with a fine-tuned one."""
