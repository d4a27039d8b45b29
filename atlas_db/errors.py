"""The errors of the domain: each says what was got, what was wanted and what to do."""


class AtlasError(Exception):
    """Something about a model, a data set, a run folder or an atlas is not as it must be.

    The command line prints its text and exits with 1; the API answers with its own shape.
    """


class CaptionerError(AtlasError):
    """A captioner folder, or one of the parts it names, cannot be used."""


class DatasetError(AtlasError):
    """A data set's files are missing, unreadable or contradict one another."""


class RunError(AtlasError):
    """A run folder is of another configuration, locked, damaged or incomplete."""


class ExperimentError(AtlasError):
    """An experiment, or what it was given to work with, does not exist or cannot be used."""


class AtlasFileError(AtlasError):
    """An atlas file is missing, of another schema version or damaged."""


class NotInAtlasError(AtlasError):
    """A unit, concept or image that was asked for is not in the atlas."""


class NotMeasuredError(AtlasError):
    """What was asked for is measured by an experiment that this atlas does not have."""


class SiteError(AtlasError):
    """The site cannot be built: its output folder, or the pages that it is made of."""
