"""What secrets look like: tokens by their beginnings, keys, credentials in addresses, values beside telling names.

Lengths in patterns are bounded, so that text made to slow the search down cannot.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from dataclasses import dataclass

MASK = "[redacted]"

_NAMES = (
    r"passw(?:or)?ds?|passphrase|pwd|secrets?|tokens?|credentials?|mnemonic|seed[_-]?phrase|api[_-]?secret"
    r"|(?:api|secret|private|access|account|signing|encryption|master|client|auth)[_-]?keys?(?:[_-]data)?"
)
_SECRET_NAME = re.compile(rf"(?:{_NAMES})$", re.IGNORECASE)
_NAME_MARKS = (
    *("passw", "passphrase", "pwd", "secret", "token", "credential", "mnemonic", "seed", "-key", "_key", "apikey"),
    *("privatekey", "accesskey", "accountkey", "signingkey", "encryptionkey", "masterkey", "clientkey", "authkey"),
)
_PROSE = """
null nil none true false yes no not is are was were has have had must may can could cannot should will expired invalid
missing required unset undefined empty unknown error errors failed failure unexpected revoked denied rejected malformed
mismatch the a an and or of for from with in on at by to get exec dial rpc http https tls x509 unable permission
operation connection context open read write string bool int optional default unauthorized forbidden timeout bucket
"""
"""What stands behind such a name in prose and in data, and is none."""
_PLAIN_WORDS = frozenset(_PROSE.split())
_TICKER = re.compile(r"[A-Z]{2,6}(?:[/-]?[A-Z]{2,6})?")
_COUNT = re.compile(r"\d+")
_QUOTES = "\\\"'"
_DENSE = r"(?=[^\s\"']{0,400}?(?:[\d~+/=_]|\.[A-Za-z0-9]|(?-i:[a-z][A-Z]))|[^\s\"']{16})"
"""Ahead is more than a word: it has a digit, a sign that words have not, capitals within, or length."""
_SMALL = {ord(letter): letter.lower() for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}


@dataclass(frozen=True, slots=True)
class Shape:
    """What a kind of secret looks like. Looked for only in text that holds one of `marks`, in small letters."""

    marks: tuple[str, ...]
    pattern: re.Pattern[str]
    replace: str | Callable[[re.Match[str]], str] = MASK

    def without(self, text: str) -> str:
        """`text` with such secrets masked."""
        return self.pattern.sub(self.replace, text)


@dataclass(frozen=True, slots=True)
class Named:
    """A value beside a name that says that it is a secret. The pattern is for text in small letters: it is fast.

    Its groups are `name` and `value`, and `quote` where the value has a quote that may be escaped.
    """

    marks: tuple[str, ...]
    pattern: re.Pattern[str]

    def without(self, text: str) -> str:
        """`text` with such values masked, unless one is a word or a count; the names stay, and quotes too."""
        parts, end = [], 0
        for match in self.pattern.finditer(small_letters(text)):
            value = text[match.start("value") : match.end("value")]
            if is_plain_value(match["name"], value.strip(_QUOTES)):
                continue
            opening = match["quote"] or ""
            closing = opening if opening and value.endswith(opening) and len(value) > len(opening) else ""
            parts.append(f"{text[end : match.start('value')]}{opening}{MASK}{closing}")
            end = match.end("value")
        return "".join(parts) + text[end:] if parts else text


@dataclass(frozen=True, slots=True)
class Group:
    """Shapes that are looked for only in text of so many characters that holds one of `signs` ("" is in any).

    Most text is a name, a number or a word, and is let through here.
    """

    least: int
    signs: tuple[str, ...]
    shapes: tuple[Shape | Named, ...]

    def without(self, text: str, lowered: str) -> str:
        """`text` with what looks like one of the shapes masked; `lowered` is the text in small letters."""
        for shape in self.shapes:
            for mark in shape.marks:
                if mark in lowered:
                    text = shape.without(text)
                    break
        return text


def small_letters(text: str) -> str:
    """`text` with small letters for A to Z; as long as before, whatever else it holds."""
    return text.lower() if text.isascii() else text.translate(_SMALL)


def is_secret_name(name: str) -> bool:
    """Whether a field, a column or a variable called `name` holds a secret: "password", "apiKey", "DB_TOKEN"."""
    return bool(_SECRET_NAME.search(name[-60:]))


def is_plain_value(name: str, value: str) -> bool:
    """Whether `value` is no secret although its `name` says so: a word of prose, a count of tokens, a coin's symbol."""
    name = name.lower()
    if not value or value.lower().strip(".:!)") in _PLAIN_WORDS:
        return True
    if name.endswith("tokens") and _COUNT.fullmatch(value):
        return True
    if name.endswith("pwd") and value.startswith("/"):
        return True
    return name.endswith(("token", "tokens")) and bool(_TICKER.fullmatch(value))


def _basic(match: re.Match[str]) -> str:
    """What stands for a value of basic authentication; another word behind "basic" stays."""
    try:
        content = base64.b64decode(match[2], validate=True)
    except (binascii.Error, ValueError):
        return match[0]
    return f"{match[1]}{MASK}" if b":" in content and content.isascii() else match[0]


def _access_key(match: re.Match[str]) -> str:
    """What stands for an access key's id, and for the secret beside it where it is there."""
    return f"{MASK}{match[1]}{MASK}" if match[1] else MASK


_ADDRESSES = (
    # scheme://user:password@host, the password up to the last @ before a slash, or beyond one
    Shape(
        ("://",),
        re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]{0,30}://[^\s:/@'\"]{0,200}):[^\s/?#'\"]{1,500}@"),
        rf"\1:{MASK}@",
    ),
    Shape(
        ("://",),
        re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]{0,30}://[^\s:/@'\"]{0,200}):(?!\d{1,5}/)[^\s@'\"]{1,500}@"),
        rf"\1:{MASK}@",
    ),
    # a token alone before the host
    Shape(("://",), re.compile(r"(://)(?=[^\s:/@'\"]{0,200}\d)[A-Za-z0-9_.~%-]{20,200}@"), rf"\1{MASK}@"),
    Shape(("@tcp(", "@unix("), re.compile(r"(\b[\w.-]{1,60}):[^\s@'\"]{1,300}@(?=(?:tcp|unix)\()"), rf"\1:{MASK}@"),
    Shape(
        ("sig",),
        re.compile(r"(?i)([?&](?:sig|signature|x-amz-signature|x-goog-signature)=)[A-Za-z0-9%+/=_-]{16,}"),
        rf"\1{MASK}",
    ),
)
_HEADERS = (
    Shape(
        ("authorization",),
        re.compile(
            r"(?i)(authorization\W{1,6}(?:bearer|basic|token|api-?key|bot|negotiate|ntlm)\s+)"
            rf"{_DENSE}[^\s,;\"'\\\])}}]{{6,}}"
        ),
        rf"\1{MASK}",
    ),
    Shape(
        ("authorization",),
        re.compile(
            r"(?i)(authorization\W{1,6}(?:aws4-hmac-sha256|hmac\S{0,20})\s{1,3})"
            r"(?:(?:[\w-]{1,30}=[^\s,;\"'\\]{1,2000}[,;\s]{0,3}){1,6}|[^\s,;\"'\\]{6,})"
        ),
        rf"\1{MASK}",
    ),
    Shape(
        ("authorization",),
        re.compile(r"(?i)(authorization\W{1,6}digest\s[^\n]{0,600}?response=\W{0,4})[0-9a-f]{16,}"),
        rf"\1{MASK}",
    ),
    Shape(
        ("authorization",),
        re.compile(r"(?i)(authorization\\*[\"']?\s*[:=]\W{0,4})(?=[^\s\"']{0,400}?\d)[A-Za-z0-9._~+/=-]{16,}"),
        rf"\1{MASK}",
    ),
    Shape(
        ("cookie",),
        re.compile(
            r"(?i)(cookie\\*[\"']?\s*[:=]\s*\[?\\*[\"']?)[\w.-]{1,60}=[^\s;,\"'\\\]]{1,4000}"
            r"(?:; ?[\w.-]{1,60}=[^\s;,\"'\\\]]{1,4000}){0,40}"
        ),
        rf"\1{MASK}",
    ),
)
_VALUES = (
    # name=value, name: value and "name":"value"; quotes may be escaped (JSON within JSON), and a value that was cut
    # off before its closing quote is hidden too
    Named(
        _NAME_MARKS,
        re.compile(
            rf"(?P<name>{_NAMES})\b\\*[\"']?\s*(?::=|=>|[=:])\s*"
            r"(?P<value>[bru]?(?P<quote>\\*\")[^\n]*?(?:(?<!\\)(?P=quote)|(?=\n|\Z))|[bru]?'[^'\n]*'|[^\s,;&}\"'\\]+)"
        ),
    ),
    # a container's variable
    Shape(
        ('"value',),
        re.compile(
            r"(?i)(\"name\\*\"\s*:\s*\\*\"[^\"\n]{0,100}(?:passw|secret|token|api_?key|credential|private_?key)"
            r"[^\"\n]{0,60}\"\s*,\s*\\*\"value\\*\"\s*:\s*\\*\")[^\"\n\\]+"
        ),
        rf"\1{MASK}",
    ),
)
_WORDS = (
    Shape(("bearer",), re.compile(rf"(?i)(\bbearer\W{{1,3}}){_DENSE}[A-Za-z0-9._~+/=-]{{6,}}"), rf"\1{MASK}"),
    Shape(("basic ",), re.compile(r"(\b[Bb]asic\s{1,3})([A-Za-z0-9+/]{8,2000}={0,2})"), _basic),
    # --name value, and the same as a list of arguments
    Named(
        ("--", " -p", " -s", " -t", " -a", '"-'),
        re.compile(
            r"(?P<name>(?<![\w-])--?[\w-]{0,40}(?:passw(?:or)?d|passphrase|secret|token|api-?key|access-?key))"
            r"(?:\s{1,4}|\\*[\"'],\s{0,4}\\*[\"'])(?!-)"
            r"(?P<value>(?P<quote>\\*\")[^\"\n]*\"|'[^'\n]*'|[^\s,;\"'\\]+)"
        ),
    ),
    Shape(("requirepass", "masterauth"), re.compile(r"(?i)(\b(?:requirepass|masterauth)\s+)[^\s\"']+"), rf"\1{MASK}"),
    Shape(
        ("password '", "identified by"),
        re.compile(r"(?i)(\b(?:password|identified by)\s{1,4})'(?:[^'\n]|'')*'"),
        rf"\1'{MASK}'",
    ),
)
_HOOKS = (
    Shape(
        ("hooks.slack",),
        re.compile(r"https://hooks\.slack(?:-gov)?\.com/(?:services|workflows|triggers)/[A-Za-z0-9/_-]+"),
    ),
    Shape(
        ("discord",),
        re.compile(r"(https://(?:\w{1,10}\.)?discord(?:app)?\.com/api/(?:v\d{1,2}/)?webhooks/)\d{5,25}/[\w-]{10,}"),
        rf"\1{MASK}",
    ),
    Shape(("webhook.office.com",), re.compile(r"https://[\w.-]{1,60}\.webhook\.office\.com/[\w@/-]+")),
    Shape((":aa",), re.compile(r"\b(?:bot)?\d{8,10}:AA[A-Za-z0-9_-]{30,40}")),  # Telegram
)
_TOKENS_WITH_STOPS = (
    Shape(("eyj",), re.compile(r"\beyJ[A-Za-z0-9_-]{8,1000}\.[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*){0,3}")),  # JWT
    Shape(("ya29.",), re.compile(r"\bya29\.[A-Za-z0-9_.-]{16,}")),  # Google OAuth
)
_TOKENS_WITH_LOW_LINES = (
    Shape(("ghp_", "gho_", "ghu_", "ghs_", "ghr_"), re.compile(r"\bgh[pousr]_[A-Za-z0-9_.-]{16,}")),
    Shape(("github_pat_",), re.compile(r"\bgithub_pat_[A-Za-z0-9_]{20,}")),
    Shape(("npm_", "hf_"), re.compile(r"\b(?:npm|hf)_[A-Za-z0-9]{30,}")),  # npm, Hugging Face
    Shape(("_live_", "_test_"), re.compile(r"\b(?:sk|pk|rk)_(?:live|test)_[A-Za-z0-9]{10,}")),  # Stripe
    Shape(("whsec_",), re.compile(r"\bwhsec_[A-Za-z0-9+/=]{16,}")),
    Shape(("gsk_", "r8_"), re.compile(r"\b(?:gsk|r8)_[A-Za-z0-9]{36,}")),  # Groq, Replicate
)
_TOKENS_WITH_HYPHENS = (
    Shape(  # GitLab
        ("glpat-", "gldt-", "glrt-", "glptt-", "glcbt-", "glsoat-", "glagent-", "gloas-", "glffct-", "glimt-", "glft-"),
        re.compile(r"\bgl(?:pat|dt|rtr?|ptt|cbt|soat|agent|oas|ffct|imt|ft)-[A-Za-z0-9_.=-]{16,}"),
    ),
    Shape(  # Slack
        ("xox", "xapp-", "xwfp-"),
        re.compile(r"\b(?:xox[abceoprs](?:\.xox[bp])?|xapp|xwfp)-[A-Za-z0-9-]{10,}"),
    ),
    Shape(("gocspx-",), re.compile(r"\bGOCSPX-[A-Za-z0-9_-]{16,}")),  # Google's clients
    Shape(("pypi-age",), re.compile(r"\bpypi-AgE[A-Za-z0-9_-]{40,}")),
    Shape(  # Anthropic, OpenAI and who writes keys like them
        ("sk-",),
        re.compile(r"\bsk-(?:(?:ant|proj|or|svcacct|admin|live|test|None)-[A-Za-z0-9_-]{16,}|[A-Za-z0-9]{20,})"),
    ),
    Shape(("xai-", "pplx-"), re.compile(r"\b(?:xai|pplx)-[A-Za-z0-9]{40,}")),
    Shape(("age-secret-key-",), re.compile(r"\bAGE-SECRET-KEY-1[A-Z0-9]{40,}")),
)
_PEM = (
    # whole or cut off at its end; then cut off at its beginning. A certificate is public.
    Shape(
        ("-----begin",),
        re.compile(
            r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----.*?"
            r"(?:-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----|\Z)",
            re.DOTALL,
        ),
    ),
    Shape(
        ("-----end",),
        re.compile(
            r"(?:(?<=\\n)|(?<![A-Za-z0-9+/=\\]))(?:[A-Za-z0-9+/=]{16,100}+(?:\\n|\s){1,4}+){1,150}+"
            r"(?:[A-Za-z0-9+/=]{1,100}+(?:\\n|\s){1,4}+)?-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----"
        ),
    ),
)
_OTHERS = (
    Shape(("aiza",), re.compile(r"\bAIza[A-Za-z0-9_-]{30,}")),  # Google's API keys
    Shape(("1//0",), re.compile(r"\b1//0[A-Za-z0-9_-]{20,}")),  # Google's refresh tokens
    Shape(
        ("akia", "asia"),
        re.compile(
            r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"
            r"(?:(\W{1,5}(?:[\w-]{1,40}\W{1,5})?)[A-Za-z0-9/+]{40}(?![A-Za-z0-9/+=]))?"
        ),
        _access_key,
    ),
    # PEM as base64, as a kubeconfig has it
    Shape(("ls0tls1crudjti",), re.compile(r"LS0tLS1CRUdJTi(?!BDRVJUSUZJQ0FUR)[A-Za-z0-9+/=]{16,}")),
)
GROUPS = (
    Group(16, ("-",), _PEM),  # first: what hides to the end of a line would hide where a key begins
    Group(5, ("=", ":"), (*_ADDRESSES, *_HEADERS, *_VALUES)),
    Group(8, (" ", ","), _WORDS),
    Group(16, (".", ":"), (*_HOOKS, *_TOKENS_WITH_STOPS)),
    Group(16, ("_",), _TOKENS_WITH_LOW_LINES),
    Group(16, ("-",), _TOKENS_WITH_HYPHENS),
    Group(16, ("",), _OTHERS),
)
"""In this order."""
LEAST = min(group.least for group in GROUPS)
"""A shorter text holds no secret that could be told by its shape."""
