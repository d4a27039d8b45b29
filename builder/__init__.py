"""The builder: a captioner and a data set in, a run folder out."""
