"""The Flask API over one atlas."""
