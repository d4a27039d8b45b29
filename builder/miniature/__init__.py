"""The miniature: a picture world, a corpus, and models small enough for one machine to train."""
