"""The forms of requests and answers that clients know, one module each. They share `inputs` and no other code."""
