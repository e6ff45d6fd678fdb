"""Prompts that must not be drawn: sexual ones, and anything suggestive about minors.

Public prompt lists are not clean, even those called "sfw". This is a list of words, not a judgement
of meaning: it drops some harmless prompts (a nude statue), and misses paraphrases. Dropped prompts
are counted, never drawn.
"""

from __future__ import annotations

import re

SEXUAL = (
    "nsfw",
    "nude",
    "nudity",
    "naked",
    "nakedness",
    "topless",
    "bottomless",
    "porn",
    "porno",
    "pornographic",
    "xxx",
    "hentai",
    "ecchi",
    "ahegao",
    "futanari",
    "erotic",
    "erotica",
    "orgasm",
    "orgy",
    "sex",
    "sexual",
    "sexually",
    "sexualized",
    "sexualised",
    "intercourse",
    "fellatio",
    "cunnilingus",
    "blowjob",
    "handjob",
    "masturbating",
    "masturbation",
    "genitals",
    "genitalia",
    "penis",
    "cock",
    "vagina",
    "vulva",
    "pussy",
    "clitoris",
    "anus",
    "nipple",
    "areola",
    "boob",
    "tits",
    "breast",
    "butt",
    "buttocks",
    "ass",
    "booty",
    "upskirt",
    "downblouse",
    "cameltoe",
    "undressed",
    "undressing",
    "unclothed",
    "bondage",
    "bdsm",
    "fetish",
    "milf",
    "dildo",
    "stripper",
    "striptease",
    "semen",
    "cum",
    "cumshot",
    "lolicon",
    "shotacon",
    "loli",
    "shota",
    "playboy",
    "onlyfans",
    "incest",
    "rape",
    "raped",
    "bukkake",
    "gangbang",
    "sexy",
    "lewd",
    "lingerie",
    "busty",
    "voluptuous",
    "cleavage",
    "panties",
    "thong",
    "lustful",
)
SUGGESTIVE = (
    "seductive",
    "sensual",
    "bikini",
    "swimsuit",
    "underwear",
    "bra",
    "curvy",
    "provocative",
    r"hot(?! (?:dog|air|chocolate|tub|water|spring|sauce))",
    "kissing",
    "stockings",
    "miniskirt",
    "flirty",
    "thighs",
    "bathing",
    "shirtless",
    "barely",
    "tight",
    "wet",
    "spread",
    "bulge",
)
MINORS = (
    "child",
    "children",
    "childlike",
    "kid",
    "girl",
    "boy",
    "teen",
    "teenage",
    "teenager",
    "underage",
    "minor",
    "toddler",
    "infant",
    "baby",
    "babies",
    "schoolgirl",
    "schoolboy",
    "preteen",
    "tween",
    "young",
    "youthful",
    "petite",
    "daughter",
    "son",
    "sister",
    "brother",
    "student",
    "pupil",
    "highschool",
    r"(?:(?<!\d)1?\d|(?:\w+teen|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve))[ "
    r"-]?(?:yo|y/o|yr|year)s?(?:[ -]?old)?",
)


def _any(words: tuple[str, ...]) -> re.Pattern:
    """Any of the words, or its plural."""
    return re.compile(rf"(?<![a-z])(?:{'|'.join(words)})(?:e?s)?(?![a-z])", re.IGNORECASE)


_SEXUAL, _SUGGESTIVE, _MINORS = _any(SEXUAL), _any(SUGGESTIVE), _any(MINORS)


def unsafe(prompt: str) -> str:
    """The reason not to draw a prompt, in a few words without its own; empty for a safe one."""
    if _SEXUAL.search(prompt):
        return "sexual"
    if _MINORS.search(prompt) and _SUGGESTIVE.search(prompt):
        return "suggestive, about a minor perhaps"
    return ""
