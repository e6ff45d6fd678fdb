"""The errors of a study."""


class StudyError(ValueError):
    """A study that cannot be created, served or read; the message names the cause and the way
    out.
    """


class NotKnown(StudyError):
    """A participant, trial or picture that does not exist in this study or is someone else's."""


class Conflict(StudyError):
    """An answer that contradicts a stored one. Nothing was changed; the event log holds the refused
    answer.
    """


class Busy(StudyError):
    """The database could not be reached or was too busy. Repeating the request is safe: a client's
    id counts once.
    """
