"""Penn Treebank tokens of English text, as Stanford's PTBTokenizer 3.4.1 splits it for coco-caption.

At each position the rule with the longest match, counted with the text that must follow, gives the next token; of equal
ones the first.
"""

import re
from collections.abc import Iterator

_L = "[A-Za-z\x80-\U0010ffff]"  # `preprocessing.normalization` leaves nothing but words beyond ASCII
_A = "[0-9A-Za-z\x80-\U0010ffff]"
_NOT_L = "[^A-Za-z\x80-\U0010ffff]"
_QUOTE = "['`]"
_WORD = rf"{_L}{_A}*(?:[.!?]{_L}{_A}*)*"
_PART = rf"(?:[dDoOlL]{_QUOTE}{_A})?{_A}+"
_HYPHENATED = rf"{_PART}(?:[-_]{_PART})*"
_DOTTED = r"[A-Za-z](?:\.[A-Za-z])*"
_HYPHENATED_NUMBER = r"[A-Za-z0-9][A-Za-z0-9.,]*(?:-(?:[A-Za-z](?:\.[A-Za-z])+\.|[A-Za-z0-9]+))+"
_SLASHED = r"[A-Za-z0-9]+(?:-[A-Za-z]+){0,2}"
_AMPERSANDS = "[A-Z]+(?:[+&][A-Z]+)+"
_CLITIC = "'(?i:re|ve|ll|[smd])"
_NOT = rf"(?i:n{_QUOTE}t)"
_NO_URL = r'\s"<>|(){}'
_TAG = (
    r"""<(?:[!?][A-Za-z-][^>\r\n]*|[A-Za-z][\w:.-]*(?: +(?:[A-Za-z][\w:.-]*(?: *= *(?:'[^']*'|"[^"]*"))?))* */?"""
    r"|/[A-Za-z][\w:.-]*) *>"
)

# Words with a full stop of their own, in any case; a capital stands for itself in those that are also words.
_ABBREVIATIONS = (
    r"(?i:jan|feb|mar|apr|jun|jul|aug|sept?|oct|nov|dec|mon|tues?|wed|thu|thurs|fri"
    r"|ala|ariz|calif|colo|conn|ct|dak|fla|ga|kans?|ky|md|mich|minn|mo|mont|neb|nev|okla|penn|tenn|va|vt|wisc?|wyo"
    r"|inc|cos?|corp|pp?t[ye]s?|ltd|plc|rt|bancorp|bhd|assn|univ|intl|sys|tel|est|ext|sq"
    r"|jr|sr|bros|(?:ed|ph)\.d|blvd|rd|esq|etc|al|seq|bldg)"
    r"|A(?i:z|rk)|D(?i:el)|I(?i:ll|nd)|L(?i:a)|M(?i:ass|iss)|O(?i:re)|P(?i:a)|T(?i:ex)|W(?i:ash)"
)
_TITLES = (
    r"(?i:mrs?|ms|drs?|profs?|sens?|reps?|attys?|lt|col|gen|messrs|govs?|adm|rev|maj|sgt|cpl|pvt|capt|ste?|ave|pres"
    r"|lieut|hon|brig|co?mdr|pfc|spc|supts?|det|mt|ft|adj|adv|asst|assoc|ens|insp|mlle|mme|msgr|sfc"
    r"|vs|alex|wm|jos|cie|a\.k\.a|cf|treas|ph|invt|elec|natl|m[ft]g|dept)"
)
_BEFORE_A_NUMBER = "(?i:ca|figs?|prop|nos?|art|bldg|pp|op)"
_FILE_ENDINGS = (
    "(?i:bat|bmp|c|class|cgi|cpp|dll|docx?|exe|gif|gz|html?|h|jar|java|jpe?g|mov|mp3|pdf|php|pl|png|ppt|ps|py|sql|tar"
    "|txt|wav|xml|x|zip)"
)
_SENTENCE_STARTS = (
    r"A|About|According|Additionally|After|An|As|At|But|Earlier|He|Her|Here|However|If|In|It|Last|Many|More|M[rs]\."
    "|Now|Once|One|Other|Our|She|Since|So|Some|Such|That|The|Their|Then|There|These|They|This|We|When|While|What|Yet|You"
)

# Group 1 is the token, the rest of a match must follow it.
_RULES = tuple(
    re.compile(rule, re.ASCII)
    for rule in (
        r"((?i:c)\+\+)",
        "((?i:[cf])#)",
        "((?i:can))(?i:not)",
        "((?i:'t))(?i:was)",
        "((?i:'t))(?i:is)",
        "((?i:gon|got|lem|gim|wan))(?i:(?<=gon)na|(?<=got)ta|(?<=lem)me|(?<=gim)me|(?<=wan)na)",
        rf"({_TAG})",
        rf"({_WORD}){_CLITIC}",
        rf"([A-Za-z]*[A-MO-Za-mo-z]){_NOT}",
        rf"({_WORD})",
        # Words with an apostrophe at an edge or inside.
        rf"('[nN]'?|[lLdDjJ]'|(?i:dunkin'|somethin'|ol'|'em|'till?|'cause|cont'd\.?|nor'easter|c'mon|e'er|s'mores|ev'ry"
        rf"|li'l|nat'l|c'est|cap'n|o{_QUOTE}o)|[A-HJ-XZn]{_QUOTE}{_L}{{2,}}|'[2-9]0[sS]"
        rf"|{_L}+[aeiouyAEIOUY]{_QUOTE}[aeiouA-Z]{_L}*)",
        rf"([yY]'){_L}",
        rf"((?i:https?)://[^{_NO_URL}]+[^{_NO_URL}.!?,-])",
        rf"((?:(?i:www)\.(?:[^{_NO_URL}.!?,]+\.)+[A-Za-z]{{2,4}}|(?:[^{_NO_URL}`'!$,-_]+\.)+(?i:com|net|org|edu))"
        rf"(?:/[^\s\"<>|()]+[^{_NO_URL}.!?,-])?)",
        rf"(<?[A-Za-z0-9][^{_NO_URL}]*@(?:[^{_NO_URL}.]+\.)*[^{_NO_URL}.]+>?)",  # mail
        rf"(@[A-Za-z_]\w*|\#{_L}+)",
        rf"({_CLITIC}){_NOT_L}",
        r"([-+]?(?:[0-9]*(?:[.:,][0-9]+)+|[0-9]+))",
        r"((?:[0-9]{1,4}[- ])?[0-9]{1,4}\\?/[0-9]{1,4})",
        "(-(?i:[rl][rcs]b)-|(?i:pro|anti)-|(?i:s&p)-500|(?i:s&ls))",
        rf"({_SLASHED}(?:\\?/{_SLASHED}){{1,2}})",
        r"([A-Z]*\$|\#)",
        rf"([A-Za-z])\.\s+(?:{_SENTENCE_STARTS}|{_TAG})\s",
        rf"({_BEFORE_A_NUMBER}\.)\s?[0-9]",
        rf"((?:{_ABBREVIATIONS})\.)(?s:..?)",
        rf"((?:{_TITLES}|{_DOTTED})\.)",
        r"('[0-9][0-9])\s",
        rf"({_A}+(?:\.{_A}+)*\.{_FILE_ENDINGS})[\s.?!,]",
        rf"((?:{_WORD}|{_HYPHENATED_NUMBER}|{_HYPHENATED}|{_AMPERSANDS})\.)[,;:]",
        r"((?:\([0-9]{2,3}\) ?|(?:\+\+?)?(?:[0-9]{2,4}[- ])?[0-9]{2,4}[- ])[0-9]{3,4}[- ]?[0-9]{3,5}"
        r"|(?:(?:\+\+?)?[0-9]{2,4}\.)?[0-9]{2,4}\.[0-9]{3,4}\.[0-9]{3,5})",  # phone
        r"([<>]?[:;=][-o*']?[()DPdpO\\{@|\[\]])[^A-Za-z0-9]",  # smileys
        r"([-^x=~<>']_[-^x=~<>']|\([-^x=~<>'][_.]?[-^x=~<>']\)|\([\^x=~<>']-[\^x=~<>'`]\))",
        r"(-+)",
        r"(\.{3,5})",
        r"(@+|\#+|_+|\*+|(?:\\\*){1,3}|[?!]+)",
        rf"({_HYPHENATED_NUMBER})",
        rf"({_HYPHENATED})",
        rf"({_AMPERSANDS})",
        r"(')[A-Za-z]\S",
        rf"({_NOT})",
        r"(''?|``?)",
        r"(<<|>>)",
        r"([!-~])",  # every other mark by itself
    )
)
_PLAIN_WORD = re.compile(rf"({_L}+)(?=\s)")
_SPACE = re.compile(r"[\s\x00-\x1f\x7f]+")
_TWO_TOKENS = frozenset(("cannot", "gonna", "gotta", "lemme", "gimme", "wanna"))


def treebank_spans(text: str) -> Iterator[tuple[int, int]]:
    """Where the tokens of text start and end; `text` is as `preprocessing.normalization.normalize` returns it."""
    text += "\n"  # rules ask for the character that follows
    position = 0
    while position < len(text):
        if space := _SPACE.match(text, position):
            position = space.end()
            continue
        plain = _PLAIN_WORD.match(text, position)
        if plain and plain[1].lower() not in _TWO_TOKENS:  # most words, and no rule matches more
            match = plain
        else:
            match = max(filter(None, (rule.match(text, position) for rule in _RULES)), key=lambda found: found.end())
        yield match.span(1)
        position = match.end(1)
