"""One module for each command, or for a few of a kind; heavy things are imported inside them."""
