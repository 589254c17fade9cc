"""Pages for people who try a service in a browser: the style and the script that they share, and how one is made."""
