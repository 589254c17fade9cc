"""The configuration of every stage and the shell around its command."""
