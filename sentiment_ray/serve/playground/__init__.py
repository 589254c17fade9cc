"""The page for people who try the service in a browser: one HTML file, which asks no other site for anything."""
