"""The errors of a study."""


class StudyError(ValueError):
    """A study that cannot be made, served or read; the message names the cause and the way out."""


class NotKnown(StudyError):
    """A participant, trial or picture that this study does not have, or that is someone else's."""


class Conflict(StudyError):
    """An answer that contradicts one that is already kept. Nothing was changed, and the event log
    has what was refused.
    """


class Busy(StudyError):
    """The database could not be reached or was too busy. Sending the same again is safe: a
    client's id counts once.
    """
