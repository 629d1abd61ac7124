"""Classifies a referring expression by the cue it relies on. `barbench run` saves it as the column `kind` of the arrays
beside a record.

The first kind that fits is taken, from the one that asks most of a model to the one that asks least:

* relation: a second thing, and how the object stands to it ("man next to the dog", "cup left of plate", "girl holding
  umbrella").
* location: a place in the picture, or an order seen from the camera ("left guy", "second from the right", "closest").
* attribute: colour, size, age, clothing, material, number or action ("man in red", "tall boy", "kid running").
* bare name: none of these ("zebra", "the bus").

Words are English, as in RefCOCO, RefCOCO+ and G-Ref. This is a list of words and not a parser: a sentence without any
listed word counts as a bare name, and "right hand up" counts as a location.
"""

import re

KINDS = ("bare name", "attribute", "location", "relation")
"""The kind's number is its place here."""

_PLACE = r"(?:left|right|top|bottom|front|back|rear|side|end|edge|corner|middle|center|centre|lower|upper)"
_PICTURE = r"(?:picture|pictures|pic|photo|photograph|image|screen|frame|shot|scene|view|page)"
_VIEWER = r"(?:us|me|you|viewer|camera|cam|photographer|front|foreground|background)"
_COLOURS = (
    "red|orange|yellow|green|blue|purple|violet|pink|brown|black|white|gr[ae]y|beige|tan|gold|golden|silver|teal|maroon|"
    "navy|turquoise|dark|darker|darkest|light|lighter|lightest|bright|blonde?|brunette|colou?r\\w*|striped?|stripes|"
    "plaid|plain|spotted|patterned|checkered|floral|polka"
)
_LOOKS = (
    "big|bigger|biggest|small|smaller|smallest|large|larger|largest|little|tiny|huge|tall|taller|tallest|short|shorter|"
    "shortest|long|longer|longest|thin|fat|skinny|wide|narrow|young|younger|youngest|old|older|oldest|elderly|bald|"
    "bearded|beard|mustache|moustache|hair|haired|ponytail|glasses|sunglasses|goggles|wooden|wood|metal|glass|plastic|"
    "leather|brick|round|square|empty|full|open|closed|whole|half|cut|broken|wet|fuzzy|blurry|shiny|parked|dressed|"
    "asleep|awake|naked|shirtless"
)
_CLOTHES = (
    "shirts?|tshirt|t-shirt|tee|sweater|sweatshirt|hoodie|jacket|coat|vest|suit|tie|dress|skirt|jeans|pants|trousers|"
    "shorts|hat|cap|helmet|hood|scarf|gloves?|shoes|boots|socks|uniform|jersey|apron|robe|gown|bikini|swimsuit|outfit|"
    "clothes|clothing|blouse|tank|stripes|headband|bandana|backpack|wetsuit|overalls|kimono|turban"
)
_NOT_DOING = (  # nouns and pronouns that end in -ing
    "thing|something|anything|nothing|everything|building|king|ring|string|wing|painting|railing|ceiling|icing|frosting|"
    "topping|stuffing|pudding|dumpling|duckling|sling|swing|spring|evening|morning|crossing|awning|siding|lightning|"
    "earring|sling|being|living|dining|parking|sibling"
)

_IN_THE_PICTURE = re.compile(rf"\b{_PLACE}\b(?: hand)?(?: \w+)? (?:of|in|on) (?:the |this |our )?{_PICTURE}\b")
_FROM_THE_CAMERA = re.compile(rf"\b(?:near|nearer|nearest|close|closer|closest|next)(?: to)? (?:the |our )?{_VIEWER}\b")
_CLOTHING_TOP = re.compile(rf"\b(?:(?:{_COLOURS}|tank|halter|crop)[ -])top\b(?! of)")
_RELATION = re.compile(
    rf"\b(?:{_PLACE} (?:of|to) (?!(?:the )?(?:far )?{_PLACE}\b)|next to (?!(?:the )?last\b)|"
    r"(?:close|closer|closest|adjacent) to|nearest (?:the |a )?\w|on top of|in front of|across from|away from|"
    r"behind|besides?|between|among|amongst|near|by|under|underneath|below|beneath|above|over|against|alongside|inside|"
    r"around|atop|holding|carrying|riding|pushing|pulling|leading|following|touching|facing|hugging|feeding|petting|"
    r"surrounded by|attached to|looking at|sitting (?:at|in)|standing in|"
    rf"on (?!(?:the |our |my |your |very |far |its |outer |outside |extreme )*(?:{_PLACE}|outside)\b)"
    r"(?!(?:cell )?phone\b|skis\b|(?:it|them|him|her)\b)\w)"
)
_LOCATION = re.compile(
    rf"\b(?:{_PLACE}|leftmost|rightmost|topmost|bottommost|lefthand|righthand|mid|central|far|farthest|furthest|"
    r"farther|further|near|nearer|nearest|close|closer|closest|background|foreground|first|second|third|fourth|fifth|"
    r"last|[1-5](?:st|nd|rd|th)|row|outside|beyond|distance|distant|o'?clock|north|south|east|west|[lr])\b"
)
_ATTRIBUTE = re.compile(
    rf"\b(?:{_COLOURS}|{_LOOKS}|{_CLOTHES}|with|without|wearing|whose|number|sits?|stands?|"
    rf"(?!(?:{_NOT_DOING})s?\b)[a-z]{{2,}}ing)\b|\d"
)

_LOOSE = re.compile(r"(?:an?|the|of|in|on|at|to|from|and|with|is|are|who|that|which|his|her|its)")
"""Words that mean nothing at the ends of what is left when others are taken out."""


def kind(text: str) -> int:
    """The kind of cue that an English expression relies on, as its position in KINDS.

    >>> [KINDS[kind(text)] for text in ("zebra", "man in red", "left guy", "cup left of plate")]
    ['bare name', 'attribute', 'location', 'relation']
    """
    words = " ".join(text.lower().split())
    clear = _CLOTHING_TOP.sub("shirt", words)
    rest = _without_views(clear)
    if _RELATION.search(rest):
        return KINDS.index("relation")
    if rest != clear or _LOCATION.search(rest):
        return KINDS.index("location")
    return KINDS.index("attribute" if _ATTRIBUTE.search(rest) else "bare name")


def _without_views(words: str) -> str:
    """Lower-case words without what says where in the picture, or how near to the camera."""
    return _FROM_THE_CAMERA.sub(" ", _IN_THE_PICTURE.sub(" ", words))


def without_descriptors(text: str) -> str:
    """An expression without what says more than a name: words of attribute and place, and a relation with all that
    follows it; empty where nothing is left.

    >>> [without_descriptors(text) for text in ("zebra", "man in red shirt", "big left cup next to the plate", "red")]
    ['zebra', 'man', 'cup', '']
    """
    # Phrases first, since their words occur in relations, too.
    rest = _without_views(" ".join(text.lower().split()))
    relation = _RELATION.search(rest)
    if relation is not None:
        # A relation ends what is said of the object itself.
        rest = rest[: relation.start()]
    rest = _ATTRIBUTE.sub(" ", _LOCATION.sub(" ", rest))
    # What is loose at both ends: articles and prepositions.
    kept = rest.split()
    while kept and _LOOSE.fullmatch(kept[-1]):
        kept.pop()
    while kept and _LOOSE.fullmatch(kept[0]):
        kept.pop(0)
    return " ".join(kept)
